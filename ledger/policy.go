package ledger

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"tocsin/crypto/identity"
)

// policy says whose signatures a proof needs: the log's author and all of
// Witnesses. Its text is in the format of Sigsum and C2SP's tools.
type policy struct {
	Mesh      identity.MeshID
	Log       LogID
	Witnesses []identity.Key // rising
}

// text returns the one spelling of p.
func (p *policy) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "log %s\n", verifierKey(Origin(p.Mesh, p.Log), noteEd25519, p.Log.Author))
	names := make([]string, len(p.Witnesses))
	for i, w := range p.Witnesses {
		names[i] = fmt.Sprintf("w%d", i+1)
		fmt.Fprintf(&b, "witness %s %s\n", names[i], verifierKey(WitnessName(w), noteCosignature, w))
	}
	fmt.Fprintf(&b, "group witnesses %d %s\nquorum witnesses\n", len(names), strings.Join(names, " "))
	return b.String()
}

// parsePolicy reads the text of the policy of one log, in its one spelling.
func parsePolicy(mesh identity.MeshID, log LogID, text string) (*policy, error) {
	p := &policy{Mesh: mesh, Log: log}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "witness" {
			continue // the comparison below looks at every line
		}
		name, _, _ := strings.Cut(fields[2], "+")
		key, ok := parseWitnessName(name)
		if !ok || len(p.Witnesses) >= MaxProofWitnesses {
			return nil, proofError("the policy names a witness that is none, or more than %d", MaxProofWitnesses)
		}
		p.Witnesses = append(p.Witnesses, key)
	}
	rising := slices.IsSortedFunc(p.Witnesses, compareKey) && len(slices.Compact(slices.Clone(p.Witnesses))) == len(p.Witnesses)
	if len(p.Witnesses) == 0 || !rising || p.text() != text {
		return nil, proofError("the policy is not in the one form that is allowed")
	}
	return p, nil
}

func compareKey(a, b identity.Key) int { return bytes.Compare(a[:], b[:]) }

// check returns nil if every witness of p has cosigned.
func (p *policy) check(cosigned []Cosigned) error {
	for _, w := range p.Witnesses {
		if !slices.ContainsFunc(cosigned, func(c Cosigned) bool { return c.Witness == w }) {
			return proofError("witness %s has not signed the checkpoint", w)
		}
	}
	return nil
}
