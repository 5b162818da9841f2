package node

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"
)

const canary = "CANARY-Mrs-Featherstonehaugh-9434765919"

// disguises are the forms in which the canary might be written down.
func disguises() map[string][]byte {
	out := map[string][]byte{"plain": []byte(canary)}
	// Base64 at each of its three alignments, without the characters that
	// depend on what stands before and after.
	for shift := range 3 {
		padded := append(bytes.Repeat([]byte{'x'}, shift), canary...)
		enc := base64.RawStdEncoding.EncodeToString(padded)
		out[fmt.Sprintf("base64+%d", shift)] = []byte(enc[4 : len(enc)-4])
		enc = base64.RawURLEncoding.EncodeToString(padded)
		out[fmt.Sprintf("base64url+%d", shift)] = []byte(enc[4 : len(enc)-4])
	}
	out["hex"] = []byte(hex.EncodeToString([]byte(canary)))
	out["HEX"] = bytes.ToUpper(out["hex"])
	var le, be []byte
	for _, u := range utf16.Encode([]rune(canary)) {
		le = binary.LittleEndian.AppendUint16(le, u)
		be = binary.BigEndian.AppendUint16(be, u)
	}
	out["utf-16le"], out["utf-16be"] = le, be
	return out
}

// sink is a place where bytes end up.
type sink struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sink) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

// capture stands between two nodes and records what crosses the network.
func capture(t *testing.T, to string, record io.Writer) string {
	t.Helper()
	host, rest, ok := strings.Cut(strings.TrimPrefix(to, "/ip4/127.0.0.1/tcp/"), "/")
	if !ok {
		t.Fatalf("not a TCP address: %s", to)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	keep := func(c net.Conn) { mu.Lock(); conns = append(conns, c); mu.Unlock() }
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", "127.0.0.1:"+host)
			if err != nil {
				in.Close()
				continue
			}
			keep(in)
			keep(out)
			wg.Go(func() { io.Copy(out, io.TeeReader(in, record)); out.Close() })
			wg.Go(func() { io.Copy(in, io.TeeReader(out, record)); in.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/%s", l.Addr().(*net.TCPAddr).Port, rest)
}

func tcpAddr(t *testing.T, n *Node) string {
	t.Helper()
	for _, a := range n.mesh.Addrs() {
		if strings.Contains(a, "/tcp/") {
			return a
		}
	}
	t.Fatal("no TCP address")
	return ""
}

// runCanary sends the canary in a group of two with a third device that only
// carries, and returns every place where it can be read.
func runCanary(t *testing.T, unsafe Unsafe) []string {
	var logs, wire, frames sink
	places := map[string]func() []byte{"logs": logs.bytes, "network": wire.bytes, "frames": frames.bytes}
	w := newWorld(t)
	machines := []*machine{w.enrol("Amal", orgHospital), w.enrol("Ben", orgAmbulance), w.enrol("Chidi", orgHospital)}
	t.Run("send", func(t *testing.T) {
		spy := func(cfg *Config) { cfg.Unsafe = unsafe }
		a := machines[0].start(t, machines[0].onDisk(t), logTo(&logs), spy)
		via := func(cfg *Config) { cfg.Static = []string{capture(t, tcpAddr(t, a), &wire)} }
		b := machines[1].start(t, machines[1].onDisk(t), logTo(&logs), via)
		c := machines[2].start(t, machines[2].onDisk(t), logTo(&logs), via)
		ready(t, 2, a, b, c)
		g := makeGroup(t, a, b)
		say(t, a, g, canary)
		if !unsafe.NoSeal {
			shows(t, b, g, canary)
		}
		eventually(t, "everyone carries it", func() bool {
			return c.logs.Frontier().Hash() == a.logs.Frontier().Hash()
		})
		for _, h := range c.logs.Frontier() {
			for seq := range h.Next {
				e, err := c.logs.Entry(t.Context(), h.Log, seq)
				check(t, err)
				frames.Write(e.Frame())
			}
		}
		fmt.Fprintf(&logs, "%+v %+v", a.Metrics(), a.Status())
	})
	for _, m := range machines {
		check(t, filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				rel, _ := filepath.Rel(m.dir, path)
				places[m.name+"/"+rel] = func() []byte { b, err := os.ReadFile(path); check(t, err); return b }
			}
			return err
		}))
	}
	if len(wire.bytes()) == 0 || len(logs.bytes()) == 0 {
		t.Fatal("nothing was captured: the scan would prove nothing")
	}
	return scan(places)
}

func scan(places map[string]func() []byte) []string {
	var found []string
	for place, read := range places {
		content := read()
		for form, b := range disguises() {
			if bytes.Contains(content, b) {
				found = append(found, place+" holds it as "+form)
			}
		}
	}
	return found
}

// TestCanaryIsNowhere: what is said in a group can be read in no file, log,
// metric or capture, neither of its members nor of a device that carries it.
func TestCanaryIsNowhere(t *testing.T) {
	if found := runCanary(t, Unsafe{}); len(found) > 0 {
		t.Fatalf("the canary escaped: %q", found)
	}
}

// TestCanaryScanFindsUnsealed shows that the scan above can fail.
func TestCanaryScanFindsUnsealed(t *testing.T) {
	if found := runCanary(t, Unsafe{NoSeal: true}); len(found) == 0 {
		t.Fatal("sealing was off and the scan found nothing")
	}
}

func TestScanKnowsEveryDisguise(t *testing.T) {
	around := []byte("....")
	for form := range disguises() {
		var text []byte
		switch {
		case strings.HasPrefix(form, "base64+"):
			text = []byte(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", int(form[7]-'0')) + canary + "tail")))
		case strings.HasPrefix(form, "base64url+"):
			text = []byte(base64.URLEncoding.EncodeToString([]byte(strings.Repeat("x", int(form[10]-'0')) + canary + "tail")))
		default:
			text = disguises()[form]
		}
		content := append(append(bytes.Clone(around), text...), around...)
		if len(scan(map[string]func() []byte{"x": func() []byte { return content }})) == 0 {
			t.Errorf("the scan does not know %s", form)
		}
	}
}
