package ledger_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// page is docs/verify-without-tocsin.md, as a reader would use it: what it says
// to run, and the program that it prints.
type page struct{ script, program string }

func readPage(t testing.TB) page {
	t.Helper()
	text, err := os.ReadFile("../docs/verify-without-tocsin.md")
	must(t, err)
	var p page
	for _, block := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		switch block[1] {
		case "bash":
			p.script += block[2]
		case "go":
			p.program += block[2]
		}
	}
	return p
}

// follow does what the page says in a folder with the proof and the authorities
// named, and returns what was printed.
func (p page) follow(t testing.TB, proof []byte, authorities ...*identity.Authority) (string, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) { must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600)) }
	write("note.tocsin-proof", proof)
	var certs []byte
	for _, a := range authorities {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})...)
	}
	write("authorities.pem", certs)
	write("check.go", []byte(p.program))
	// In place of the page's two commands that fetch the library: what this
	// module has fetched already, at the version that the page names.
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		must(t, err)
		write(name, bytes.Replace(text, []byte("module tocsin\n"), []byte("module check\n"), 1))
	}
	cmd := exec.CommandContext(context.Background(), "bash", "-c", p.script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", "TZ=UTC", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestPage follows the page literally, with an honest proof and with each kind
// of dishonest one; the latter must fail at the step that is there for it.
func TestPage(t *testing.T) {
	for _, tool := range []string{"bash", "openssl", "xxd", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" && runtime.GOOS == "linux" {
				t.Fatalf("the page needs %s, and CI is to have it", tool)
			}
			t.Skipf("the page needs %s", tool)
		}
	}
	p := readPage(t)
	text, err := os.ReadFile("../go.mod")
	must(t, err)
	if !bytes.Contains(text, []byte("filippo.io/torchwood v0.9.0")) {
		t.Fatal("the page names another version of torchwood than this module uses")
	}
	s := newScene(t).witnessed(2)
	good := s.prove(t)
	both := []*identity.Authority{s.authorities[hospital], s.authorities[ambulance]}
	t.Run("honest", func(t *testing.T) {
		t.Parallel()
		out, err := p.follow(t, marshal(t, good), both...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{
			"1 ok", "2 ok", "3 ok", "4 ok", "5 ok: it is entry 5 of 10", "6 ok", "7 ok: 2 others", "8 ok",
			"gmc/7000001", "seen at Sun Mar  1 12:01:00 UTC 2026 by URI:tocsin://stmarys.nhs.example/gmc/7000002",
			"URI:tocsin://ambulance.nhs.example/gmc/7000003",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
	})

	t.Run("author of a registrar", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		desk := s.registrar(hospital)
		s.author = s.enrolBy(desk, "Efua Mensah", identity.Person{Org: hospital, Regulator: "nmc", Number: "12A3456B"}, 3*24*time.Hour)
		s.chain = s.author.sealed(t, s.author.chain(t, said), testOpening, testPayload)
		for _, n := range append([]*node{s.author}, s.witnesses...) {
			n.take(s.chain)
		}
		file := marshal(t, s.witnessed(2).prove(t))
		out, err := p.follow(t, file, s.authorities[hospital], s.authorities[ambulance])
		if err != nil || !strings.Contains(out, "8 ok") || !strings.Contains(out, "nmc/12A3456B") || !strings.Contains(out, "Ward desk") {
			t.Errorf("%v\n%s", err, out)
		}
		r, err := ledger.VerifyProof(file, s.trust)
		must(t, err)
		if !strings.Contains(r.String(), "a registrar issued it") {
			t.Errorf("the registrar is not named:\n%s", r)
		}
	})

	refused := func(name, step string, file []byte, authorities ...*identity.Authority) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := p.follow(t, file, authorities...)
			before := string(step[0] - 1)
			if err == nil || strings.Contains(out, step) || step != "1 ok" && !strings.Contains(out, before+" ok") {
				t.Errorf("it should fail before %q: %v\n%s", step, err, out)
			}
		})
	}
	refusedProof := func(name, step string, spoil func(*ledger.Proof)) {
		bad := *good
		spoil(&bad)
		refused(name, step, marshal(t, &bad), both...)
	}
	refused("no proof", "1 ok", []byte("hello\n"), both...)
	refused("an authority that is not trusted", "3 ok", marshal(t, good), both[1])
	refused("a witness's authority that is not trusted", "7 ok", marshal(t, good), both[0])
	refusedProof("changed payload", "2 ok", func(b *ledger.Proof) { b.Payload = []byte("Bed 4: give 3 units O neg now") })
	refusedProof("changed time in the header", "4 ok", func(b *ledger.Proof) {
		b.Header = bytes.Clone(b.Header)
		b.Header[82] ^= 1
	})
	refusedProof("somebody else's credential", "3 ok", func(b *ledger.Proof) { b.Credential = s.witnesses[1].credential })
	refusedProof("changed signature", "4 ok", func(b *ledger.Proof) { b.Signature[0] ^= 1 })
	refusedProof("changed path", "5 ok", func(b *ledger.Proof) { b.Path = append([]ledger.Hash{{1}}, b.Path[1:]...) })
	refusedProof("checkpoint from a fork", "5 ok", func(b *ledger.Proof) {
		b.Cosigned = newTwin(s)
		b.Checkpoint = b.Cosigned[0].Checkpoint
	})
	refusedProof("checkpoint that the author did not sign", "6 ok", func(b *ledger.Proof) { b.Checkpoint.Signature[0] ^= 1 })
	refusedProof("one witness missing", "7 ok", func(b *ledger.Proof) { b.Cosigned = b.Cosigned[1:] })
	refusedProof("one witness left out everywhere", "7 ok", func(b *ledger.Proof) {
		b.Cosigned = b.Cosigned[1:]
		b.Witnesses = b.Witnesses[1:]
	})
	refusedProof("changed cosignature", "7 ok", func(b *ledger.Proof) {
		b.Cosigned = slices.Clone(b.Cosigned)
		b.Cosigned[0].Cosignature[1] ^= 1
	})
	refusedProof("changed time of a witness", "7 ok", func(b *ledger.Proof) {
		b.Cosigned = slices.Clone(b.Cosigned)
		b.Cosigned[1].Time -= 60
	})
	refusedProof("the author as witness", "7 ok", func(b *ledger.Proof) {
		w, err := ledger.NewWitness(s.author.witness, s.trust.MeshID())
		must(t, err)
		c, err := w.Cosign(nil, b.Checkpoint, b.Checkpoint.Root, nil, noon)
		must(t, err)
		b.Cosigned = []ledger.Cosigned{b.Cosigned[0], *c}
		b.Witnesses = [][]byte{b.Witnesses[0], s.author.credential}
	})
}
