package record

import (
	"encoding/json"
	"strings"

	"tocsin/crypto/identity"
)

// Who and what references in a package lead to. Names are the package's own, or an endpoint's: only identifiers say who somebody is.

// note keeps what references to a resource need to know of it. Two resources of one name that are not the same are a fault: a reference to
// them leads to either.
func (k *keep) note(kind, fullURL, id string, r object) {
	made := &known{}
	for _, one := range list(r, "identifier") {
		system, value := str(one, "system"), str(one, "value")
		switch {
		case system == SystemEntry:
			made.entry = value
			made.are = append(made.are, urn(kind, value))
		case system == SystemPart:
			made.are = append(made.are, urn(kind, value))
		case system == SystemTag:
			made.are = append(made.are, urn(kind, SystemTag+"|0000000000000000/"+behindSlash(value)))
		default:
			made.are = append(made.are, urn(kind, system+"|"+value))
		}
	}
	if audit := str(r, "audit"); audit != "" {
		made.entry, made.are = audit, []string{urn(kind, audit)}
	}
	if kind == "PractitionerRole" {
		made.r = r
	}
	for _, name := range []string{fullURL, kind + "/" + id} {
		if name == "" || name == kind+"/" {
			continue
		}
		if had, twice := k.resources[name]; twice && strings.Join(had.are, " ") != strings.Join(made.are, " ") {
			k.faults = append(k.faults, Fault{RuleIdentifier, name, "two resources of one name differ"})
		}
		k.resources[name] = made
	}
}

// tagged takes what has no identifier in R4 and is known by a tag of its meta: a Provenance, and an AuditEvent. Both are kept until the
// proofs are there.
func (k *keep) tagged(kind string, raw, meta json.RawMessage, ids object) error {
	if kind != "Provenance" && kind != "AuditEvent" {
		return nil
	}
	tags := make(object)
	if err := decodeInto(tags, members(meta), "tag"); err != nil {
		return err
	}
	for _, tag := range list(tags, "tag") {
		code := str(tag, "code")
		if kind == "AuditEvent" && str(tag, "system") == SystemEntry {
			var r object
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			k.audits = append(k.audits, evidence{code, r})
			ids["audit"] = code
		}
		entry, ok := strings.CutSuffix(code, "-provenance")
		if !ok || kind != "Provenance" || str(tag, "system") != SystemPart {
			continue
		}
		if k.provenances[entry] != nil {
			k.faults = append(k.faults, Fault{RuleIdentifier, "message " + entry, "two resources say that they are its Provenance"})
			continue
		}
		var r object
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		k.provenances[entry] = r
	}
	return nil
}

// named is the name in this package of what a reference leads to: endpoints may name it by a whole URL, and with a version.
func (k *keep) named(to string) string {
	if _, ok := k.resources[to]; ok {
		return to
	}
	if _, ok := k.sums[to]; ok {
		return to
	}
	if m := places.FindStringSubmatch(to); m != nil {
		return m[1]
	}
	return to
}

// resolve is what a reference leads to, nil for nothing in this package.
func (k *keep) resolve(to string) *known {
	if to == "" {
		return nil
	}
	return k.resources[k.named(to)]
}

// posts checks that whoever signs in a post is the person, and at the organisation, that the post's identifier says.
func (k *keep) posts() {
	seen := make(map[*known]bool)
	for name, post := range k.resources {
		if post.r == nil || seen[post] {
			continue
		}
		seen[post] = true
		for _, id := range list(post.r, "identifier") {
			p, err := identity.ParsePerson(str(id, "value"))
			if str(id, "system") != SystemPerson {
				continue
			}
			if err != nil || !k.leads(sub(post.r, "practitioner"), urn("Practitioner", practitionerKey(p))) || !k.leads(sub(post.r, "organization"), urn("Organization", orgKey(p.Org))) {
				k.faults = append(k.faults, Fault{RuleIdentifier, name, "it is the post of somebody else, or elsewhere, than its identifier says"})
			}
		}
	}
}

// leads reports whether a reference leads to what is exported under a name, or out of the package.
func (k *keep) leads(ref object, want string) bool {
	r := k.resolve(str(ref, "reference"))
	if r == nil {
		return true
	}
	for _, is := range r.are {
		if is == want {
			return true
		}
	}
	return false
}
