package identity

import (
	"bytes"
	"crypto/sha256"
	"io"
	"time"
)

// GroupAdmin names an administrator of a group that has none left.
type GroupAdmin struct {
	Group [32]byte
	Admin LogID     // must be a device of Org
	Org   string    // whose authority says so
	Time  time.Time // of several, the latest holds
	Raw   []byte    // the statement
}

// NameAdmin names an administrator of a group that has none left:
//
//	struct { opaque group[32]; opaque author[32]; uint32 incarnation; } GroupAdmin;
func (a *Authority) NameAdmin(mesh MeshID, group [32]byte, admin LogID, now time.Time, rand io.Reader) ([]byte, error) {
	if err := CheckKey(admin.Author); err != nil {
		return nil, err
	}
	id := admin.Bytes()
	return a.statement(KindGroupAdmin, mesh, now, append(group[:], id[:]...), rand)
}

func parseGroupAdmin(st *statement) (*GroupAdmin, error) {
	g := &GroupAdmin{Time: st.at()}
	if len(st.body) != 32+LogIDSize {
		return nil, errBody
	}
	copy(g.Group[:], st.body)
	admin, err := LogIDFromBytes(st.body[32:])
	if err != nil || CheckKey(admin.Author) != nil {
		return nil, errBody
	}
	g.Admin = admin
	return g, nil
}

// ReadGroupAdmin checks the statement that names an administrator, for an
// operation of a group that rests on it. Unlike [TrustStore.Take] it knows no
// clock, no later statement and no withdrawn authority: the signer may be any
// authority that the mesh ever had, and the organisation is the one of which
// that authority was then. So what is once valid is valid on every device and
// for ever, however many bundles each has heard of.
//
// An error that wraps [ErrEarly] means that it cannot be judged yet: a bundle to
// come may name the signer. Every other error is for ever and the same
// everywhere: [ErrRefused], [ErrForeign] (of another mesh), [ErrBeyond] (not an
// authority's).
func (s *TrustStore) ReadGroupAdmin(raw []byte) (*GroupAdmin, error) {
	st, err := parseStatement(raw)
	if err != nil {
		return nil, err
	}
	switch {
	case st.mesh != s.genesis.MeshID():
		return nil, refuseAs(ErrForeign, checkStatementMesh, "the statement is for another mesh")
	case st.kind != KindGroupAdmin:
		return nil, refuse(checkStatementEncoding, "a statement of kind %s names no administrator", st.kind)
	case !mayState(st.kind, st.by):
		return nil, refuseAs(ErrBeyond, checkStatementPower, "a %s is not for this kind of signer to state", st.kind)
	case len(st.signer) != sha256.Size:
		return nil, refuse(checkStatementEncoding, "an authority is named by the 32-byte hash of its key")
	}
	g, err := parseGroupAdmin(st)
	if err != nil {
		return nil, err
	}
	root, err := s.roots().signerOf(st)
	if err != nil {
		return nil, err
	}
	g.Org, g.Raw = root.host, bytes.Clone(raw)
	return g, nil
}

// signerOf returns the first root that has the signer's key and held at the
// date of the statement. One key may have had several certificates: the
// signature is the same under each, and the earliest bundle decides.
func (s roots) signerOf(st *statement) (*issuerCert, error) {
	signed, err := st.signed()
	if err != nil {
		return nil, err
	}
	named := false
	for _, r := range s {
		if IssuerKeyHash(r.cert) != [32]byte(st.signer) {
			continue
		}
		if !named && verifyAs(r.cert, domainStatement, signed, st.signature) != nil {
			return nil, refuse(checkStatementSignature, "the signature of the statement does not verify")
		}
		named = true
		if !st.at().Before(r.cert.NotBefore) && !st.at().After(r.cert.NotAfter) {
			return r, nil
		}
	}
	if named {
		return nil, refuseAs(ErrEarly, checkStatementTime, "the statement is dated outside of every certificate of its signer that has come")
	}
	return nil, refuseAs(ErrEarly, checkStatementSigner, "no trust bundle that has come names the signer")
}
