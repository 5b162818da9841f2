//go:build linux

package netns

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf16"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/badgerstore"
)

// TestRelay is a relay between two sites behind NAT, which can both reach it and
// never each other. Their devices talk through it, in connections of their own that
// it cannot read; and whoever takes its disk, with every key on it, finds no word of
// what was said.
func TestRelay(t *testing.T) {
	needed(t)
	alongside(t)
	each := 1
	if all {
		each = 3
	}
	b := &bed{t: t}
	b.newCore(t)
	b.sites = []*site{newSite(t, 1), newSite(t, 2), newSite(t, 3)}
	for _, s := range b.sites {
		if s.number > 1 {
			s.masquerade(t)
		}
		b.connect(t, s)
	}
	devices, carrier := cast(t, 2*each)
	relay := up(t, carrier, b.sites[0].plug(t), append(listenAll(), "--mdns=false", "--relay=true")...)
	var peers []*peer
	for i, d := range devices {
		peers = append(peers, up(t, d, b.sites[1+i/each].plug(t),
			append(listenAll(), "--mdns=false", "--via", relay.by([]string{"tcp", "quic"}[i%2], false))...))
	}
	t.Logf("they know each other after %v", know(t, time.Minute, peers).Round(lookEvery))
	t.Logf("each device has one of the other site as a neighbour, through the relay, after %v",
		until(t, time.Minute, func() string { return notRelayed(t, peers) }).Round(lookEvery))
	for _, p := range peers {
		unreachable(t, p, peers)
	}

	k := newTalk(t, peers)
	const canary = "Kingfisher under the weir: burns theatre opens at nine."
	k.say(t, peers[0], "stat", canary)
	k.say(t, peers[len(peers)-1], "routine", "Understood, kingfisher under the weir at nine.")
	t.Logf("what was said is with all after %v", k.everything(t, contact).Round(lookEvery))

	if groups, err := relay.client.Groups(t.Context()); err != nil || len(groups) > 0 {
		t.Errorf("the relay shows the conversations %+v (%v)", groups, err)
	}
	until(t, contact, func() string {
		st, err := relay.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !st.Relay || st.Logs < len(peers) || st.Entries < uint64(len(peers)+len(k.said)) {
			return fmt.Sprintf("the relay carries %d entries in %d logs", st.Entries, st.Logs)
		}
		return ""
	})
	if err := relay.stop(); err != nil {
		t.Fatal(err)
	}
	words := []string{canary, "Understood, kingfisher", "Flood, lower town"}
	searchFiles(t, relay.dir, words, nil)
	n := searchStore(t, relay.dir, words)
	t.Logf("of the %d records in the relay's store none holds a word of it", n)
	// The search itself finds what is there.
	if err := os.WriteFile(filepath.Join(relay.dir, "planted"), append([]byte("xx"), disguised(canary)[2]...), 0o600); err != nil {
		t.Fatal(err)
	}
	found := 0
	searchFiles(t, relay.dir, words, func(string) { found++ })
	if found != 1 {
		t.Errorf("the search found %d planted words, not 1", found)
	}
}

// notRelayed names a peer that has no relayed connection to one of another site.
func notRelayed(t *testing.T, peers []*peer) string {
	t.Helper()
	where := map[string]*site{}
	for _, p := range peers {
		where[p.peerID] = p.at.site
	}
	for _, p := range peers {
		list, err := p.client.Peers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		across := 0
		for _, q := range list {
			s, known := where[q.ID]
			if !known || s == p.at.site {
				continue
			}
			if q.Transport != "relay" {
				t.Fatalf("%s reached the other site by %s at %s", p.first(), q.Transport, q.Addr)
			}
			across++
		}
		if across == 0 {
			return fmt.Sprintf("%s has no neighbour at the other site; it has %+v", p.first(), list)
		}
	}
	return ""
}

// unreachable checks that no packet goes from a machine to those of other sites,
// so that what arrives there came through the relay.
func unreachable(t *testing.T, p *peer, others []*peer) {
	t.Helper()
	for _, q := range others {
		if q.at.site != p.at.site {
			if c, err := dialFrom(p.at, q.at.ip4()); err == nil {
				c.Close()
				t.Fatalf("%s reaches %s without a relay", p.first(), q.first())
			}
		}
	}
}

// disguised returns the forms in which a text may lie somewhere.
func disguised(text string) [][]byte {
	var wide []byte
	for _, u := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	forms := [][]byte{[]byte(text), wide, []byte(hex.EncodeToString([]byte(text)))}
	for shift := range 3 { // base64, wherever in a group of three it begins
		enc := base64.RawStdEncoding.EncodeToString([]byte(text)[shift:])
		forms = append(forms, []byte(enc[:len(enc)-len(enc)%4-4]))
	}
	return forms
}

func holds(b []byte, words []string) string {
	for _, w := range words {
		for _, form := range disguised(w) {
			if bytes.Contains(b, form) {
				return w
			}
		}
	}
	return ""
}

// searchFiles looks for words in all files of a directory. What it finds fails the
// test, or goes to found.
func searchFiles(t *testing.T, dir string, words []string, found func(string)) {
	t.Helper()
	if found == nil {
		found = func(what string) { t.Error(what) }
	}
	files := 0
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		if w := holds(b, words); w != "" {
			found(fmt.Sprintf("%s holds %q", path, w))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if files < 5 {
		t.Fatalf("only %d files were searched", files)
	}
}

// searchStore opens the store of a device that does not run with the key that lies
// beside it, as a thief would, and looks for words in every record.
func searchStore(t *testing.T, dir string, words []string) (records int) {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "relay.pem"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.ParseRelayKeysPEM(pem)
	if err != nil {
		t.Fatal(err)
	}
	store, err := badgerstore.Open(filepath.Join(dir, "store"), badgerstore.Options{Key: keys.Store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	look := func(value []byte) {
		records++
		if w := holds(value, words); w != "" {
			t.Errorf("a record of the store holds %q", w)
		}
	}
	ctx := context.Background()
	var logs []ledger.LogID
	for table := ledger.TableEntries; table <= ledger.TableLast; table++ {
		if !table.Single() {
			continue
		}
		if err := store.Each(ctx, table, func(id ledger.LogID, value []byte) error {
			look(value)
			if table == ledger.TableStates {
				logs = append(logs, id)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	entries := 0
	for _, id := range logs {
		if err := store.Range(ctx, id, 0, math.MaxUint64, func(_ uint64, value []byte) error {
			entries++
			look(value)
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if entries < len(words) {
		t.Errorf("the store holds %d entries only", entries)
	}
	return records
}
