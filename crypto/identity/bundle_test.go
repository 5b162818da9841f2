package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestBundle(t *testing.T) {
	h := newHouse(t)
	second, err := NewAuthority("northern.nhs.example", "Northern root", noon, 365*24*time.Hour, h.rand)
	if err != nil {
		t.Fatal(err)
	}
	a, b := h.authority.Certificate(), second.Certificate()
	one, err := NewBundle("North West", noon, a, b)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewBundle("North West", noon.Add(time.Millisecond), b, a)
	if err != nil {
		t.Fatal(err)
	}
	if one.MeshID() != other.MeshID() || one.MeshID() != MeshID(sha256.Sum256(one.Marshal())) {
		t.Error("the id of a mesh depends on the order in which its roots are given")
	}
	if one.Name() != "North West" || !one.Created().Equal(noon) || len(one.Roots()) != 2 || len(one.MeshID().String()) != 64 {
		t.Errorf("bundle %q of %v with %d roots", one.Name(), one.Created(), len(one.Roots()))
	}
	for _, r := range one.Roots() {
		if r.Certificate.Subject.Organization[0] != r.Org {
			t.Errorf("root of %s is for %s", r.Certificate.Subject, r.Org)
		}
	}
	for name, change := range map[string]func() (*Bundle, error){
		"name": func() (*Bundle, error) { return NewBundle("North East", noon, a, b) },
		"date": func() (*Bundle, error) { return NewBundle("North West", noon.Add(time.Second), a, b) },
		"root": func() (*Bundle, error) { return NewBundle("North West", noon, a) },
	} {
		changed, err := change()
		if err != nil {
			t.Fatal(err)
		}
		if changed.MeshID() == one.MeshID() {
			t.Errorf("another %s gives the same mesh", name)
		}
	}
	again, err := ParseBundlePEM(one.MarshalPEM())
	if err != nil {
		t.Fatal(err)
	}
	if again.MeshID() != one.MeshID() {
		t.Error("the PEM file reads back as another mesh")
	}
}

// TestTwoAuthorities: each vouches for its own people, in one mesh.
func TestTwoAuthorities(t *testing.T) {
	h := newHouse(t)
	second, err := NewAuthority("northern.nhs.example", "Northern root", noon, 365*24*time.Hour, h.rand)
	if err != nil {
		t.Fatal(err)
	}
	h.bundle, err = NewBundle("North West", noon, h.authority.Certificate(), second.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	store, err := NewTrustStore(h.bundle)
	if err != nil {
		t.Fatal(err)
	}
	if store.MeshID() != h.bundle.MeshID() || store.Bundle().MeshID() != h.bundle.MeshID() {
		t.Error("the store is of another mesh")
	}
	w := h.wish()
	w.Person.Org = "northern.nhs.example"
	req, err := NewRequest(w, h.relay, h.vault)
	if err != nil {
		t.Fatal(err)
	}
	g := h.grant()
	g.Validity = 100 * 24 * time.Hour
	e, err := second.Issue(req, g)
	if err != nil {
		t.Fatal(err)
	}
	for _, enrolment := range []*Enrolment{e, h.enrolment} {
		if _, err := store.VerifyCredential(enrolment.Credential, noon); err != nil {
			t.Error(err)
		}
	}
	// The root of the one cannot stand in for the other: same key, other name.
	if _, err := LoadAuthority(h.authority.Certificate(), second.key); err == nil {
		t.Error("an authority is loaded with another's key")
	}
}

func TestParseBundleErrors(t *testing.T) {
	h := newHouse(t)
	raw := h.bundle.Marshal()
	set := func(i int, v byte) []byte {
		b := bytes.Clone(raw)
		b[i] = v
		return b
	}
	root := h.authority.Certificate().Raw
	twice := bundleOf(t, root, root)
	for name, tc := range map[string]struct {
		raw  []byte
		says string
	}{
		"nothing":                      {nil, "cut short"},
		"cut short":                    {raw[:len(raw)-1], "cut short"},
		"a byte after the end":         {append(bytes.Clone(raw), 0), "cut short"},
		"version 2":                    {set(0, 2), "newer program"},
		"bundle 1 without a mesh":      {set(8, 1), "cut short"},
		"a predecessor":                {set(9, 1), "no predecessor"},
		"a date after the year 9999":   {set(41, 1), "sensible date"},
		"signatures on the genesis":    {append(bytes.Clone(raw[:len(raw)-2]), 0, 1, 7), "no signatures"},
		"a name with control codes":    {set(50, 7), "name of a mesh"},
		"no roots":                     {bundleOf(t), "at least one"},
		"the same root twice":          {twice, "each stands once"},
		"an empty root":                {bundleOf(t, nil), "sorted"},
		"a leaf for a root":            {bundleOf(t, leafOf(t, h)), "root 1"},
		"over 256 KiB":                 {make([]byte, MaxBundle+1), "over the limit"},
		"65 roots":                     {bundleOf(t, manyRoots(t)...), "more than 64"},
		"bytes that are no certifcate": {bundleOf(t, []byte{1}), "root 1"},
	} {
		b, err := ParseBundle(tc.raw)
		if err == nil || b != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want a word about %q", name, err, tc.says)
		}
	}
	if _, err := NewBundle("x", time.Unix(-1, 0), h.authority.Certificate()); err == nil || !strings.Contains(err.Error(), "look at the clock") {
		t.Error("a bundle of 1969")
	}
	if _, err := NewBundle("", noon, h.authority.Certificate()); err == nil {
		t.Error("a mesh without a name")
	}
	if _, err := NewBundle("x", noon, &x509.Certificate{Raw: make([]byte, 1<<16)}); err == nil {
		t.Error("a root of 64 KiB")
	}
	if _, err := NewTrustStore(&Bundle{}); err == nil {
		t.Error("a trust store without roots")
	}
}

func leafOf(t *testing.T, h *house) []byte {
	ders, err := DecodeChain(h.enrolment.Admission)
	if err != nil {
		t.Fatal(err)
	}
	return ders[0]
}

func manyRoots(t *testing.T) [][]byte {
	k := newKeySet(t)
	var out [][]byte
	for i := range MaxRoots + 1 {
		c := goodChain(t, k, admissionLeaf)
		c.root.serial = []byte{0x40, byte(i)}
		out = append(out, c.root.build(t))
	}
	return out
}
