package vault

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// machine drives a vault and a map side by side.
type machine struct {
	d      *memDisk
	v      *Vault
	model  map[string]string
	locked bool
}

func (m *machine) reopen(t *rapid.T, d *memDisk) {
	v, err := unlockOn(d)
	if err != nil {
		t.Fatal(err)
	}
	m.d, m.v, m.locked = d, v, false
}

func drawChanges(t *rapid.T) []Change {
	key := rapid.SampledFrom([]string{"a", "a/1", "a/2", "a/20", "b", "group/x", "zz"})
	value := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 2000))
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Change {
		return Change{key.Draw(t, "key"), value.Draw(t, "value"), rapid.Bool().Draw(t, "erasable")}
	}), 0, 6).Draw(t, "changes")
}

func applyTo(model map[string]string, changes []Change) map[string]string {
	next := maps.Clone(model)
	for _, c := range changes {
		if c.Value == nil {
			delete(next, c.Key)
		} else {
			next[c.Key] = string(c.Value)
		}
	}
	return next
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{d: newMemDisk(), model: map[string]string{}}
		var err error
		if m.v, err = create(m.d, testPass, Options{Params: testParams}); err != nil {
			t.Fatal(err)
		}
		if err := m.v.SetPIN(testPIN); err != nil {
			t.Fatal(err)
		}
		t.Repeat(map[string]func(*rapid.T){
			"commit":    m.commit,
			"fault":     m.fault,
			"compact":   m.compact,
			"PIN":       m.pin,
			"lock hard": func(*rapid.T) { m.v.LockHard(); m.locked = true },
			"lock":      func(*rapid.T) { m.v.Lock(); m.locked = true },
			"unlock": func(t *rapid.T) {
				if err := m.v.Unlock(testPass); err != nil {
					t.Fatal(err)
				}
				m.locked = false
			},
			"wrong passphrase": func(t *rapid.T) {
				if err := m.v.Unlock([]byte("six other words altogether")); !errors.Is(err, ErrPassphrase) {
					t.Fatal(err)
				}
			},
			"kill":      func(t *rapid.T) { m.reopen(t, m.d.clone()) },
			"power cut": func(t *rapid.T) { m.reopen(t, m.d.cutPower(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))) },
			"":          m.check,
		})
	})
}

func (m *machine) commit(t *rapid.T) {
	changes := drawChanges(t)
	err := m.v.Commit(changes...)
	if m.locked {
		if !errors.Is(err, ErrLocked) {
			t.Fatalf("locked: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.model = applyTo(m.model, changes)
}

// pin unlocks by PIN, which works after any lock but a hard one and a new
// start.
func (m *machine) pin(t *rapid.T) {
	usable := m.v.HasPIN()
	if !m.locked && !usable {
		t.Fatal("an unlocked vault has lost its PIN")
	}
	switch err := m.v.UnlockPIN(testPIN, noon); {
	case err == nil && usable:
		m.locked = false
	case usable || !errors.Is(err, ErrNoPIN):
		t.Fatal(err)
	}
}

// fault fails one call of a commit, then reads everything afresh.
func (m *machine) fault(t *rapid.T) {
	if m.locked {
		t.Skip("locked")
	}
	n, op := rapid.IntRange(1, 3).Draw(t, "call"), rapid.SampledFrom([]string{"write", "sync", "truncate"}).Draw(t, "op")
	m.d.short = rapid.IntRange(0, 500).Draw(t, "short")
	m.d.before = func(o string) error {
		if o == op {
			n--
			if n == 0 {
				return syscall.EIO
			}
		}
		return nil
	}
	changes := drawChanges(t)
	err := m.v.Commit(changes...)
	m.d.before = nil
	next := applyTo(m.model, changes)
	if err == nil || errors.Is(err, errUndestroyed) {
		m.model = next
	}
	m.check(t)
	m.v.Lock()
	if err := m.v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if errors.Is(err, ErrBroken) && maps.Equal(m.contents(t), next) {
		m.model = next
	}
}

func (m *machine) compact(t *rapid.T) {
	if err := m.v.Compact(); err != nil && !(m.locked && errors.Is(err, ErrLocked)) {
		t.Fatal(err)
	}
}

func (m *machine) contents(t *rapid.T) map[string]string {
	got := map[string]string{}
	var order []string
	err := m.v.Scan("", func(key string, value []byte) error {
		got[key] = string(value)
		order = append(order, key)
		return nil
	})
	if err != nil || !slices.IsSorted(order) || len(order) != len(got) {
		t.Fatalf("scan: %v, %q", err, order)
	}
	return got
}

func (m *machine) check(t *rapid.T) {
	if m.locked {
		return
	}
	if got := m.contents(t); !maps.Equal(got, m.model) {
		t.Fatalf("%v, want %v", keysOf(got), keysOf(m.model))
	}
	for _, key := range []string{"a", "a/1", "nothing"} {
		value, ok, err := m.v.Get(key)
		want, wanted := m.model[key]
		if err != nil || ok != wanted || string(value) != want {
			t.Fatalf("Get(%q) = %q, %v, %v", key, value, ok, err)
		}
	}
}

func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		model := map[string]ref{}
		letters := rapid.StringOfN(rapid.RuneFrom([]rune("ab/")), 1, 6, -1)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range rapid.IntRange(0, 3000).Draw(t, "n") {
			b := make([]byte, 1+r.IntN(6))
			for j := range b {
				b[j] = "abcdefgh"[r.IntN(8)]
			}
			if key := string(b); r.IntN(4) == 0 {
				x.remove(key)
				delete(model, key)
			} else {
				x.put(key, ref{offset: int64(i), size: uint32(i)})
				model[key] = ref{offset: int64(i), size: uint32(i)}
			}
		}
		prefix := letters.Draw(t, "prefix")[1:]
		var want []string
		var live int64
		for key, to := range model {
			live += to.cost(key)
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
			if got, ok := x.get(key); !ok || got != to {
				t.Fatalf("%q: %v, %v", key, got, ok)
			}
		}
		slices.Sort(want)
		if got := x.prefixed(prefix); !slices.Equal(got, want) {
			t.Fatalf("prefix %q: %d keys, want %d", prefix, len(got), len(want))
		}
		if x.n != len(model) || x.live != live {
			t.Fatalf("%d keys, %d live; want %d, %d", x.n, x.live, len(model), live)
		}
		if _, ok := x.get("nothing like it"); ok {
			t.Fatal("found what is not there")
		}
	})
}

// TestConcurrent uses a vault from many goroutines while it is locked,
// unlocked and compacted.
func TestConcurrent(t *testing.T) {
	v, _ := newVault(t)
	const writers, each = 4, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				for {
					err := v.Commit(Change{Key: string(rune('a' + w)), Value: []byte{byte(i)}}, Change{Key: string(rune('A' + w)), Value: []byte{byte(i)}, Erasable: true})
					if err == nil {
						break
					}
					if !errors.Is(err, ErrLocked) {
						t.Error(err)
						return
					}
					if err := v.Unlock(testPass); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range each {
				err := v.Scan("", func(_ string, value []byte) error {
					if len(value) != 1 {
						return errors.New("half a value")
					}
					return nil
				})
				if err != nil && !errors.Is(err, ErrLocked) {
					t.Error(err)
				}
				if _, _, err := v.Get("a"); err != nil && !errors.Is(err, ErrLocked) {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 10 {
			v.Lock()
			if err := v.Compact(); err != nil && !errors.Is(err, ErrLocked) {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for w := range writers {
		want[string(rune('a'+w))], want[string(rune('A'+w))] = string(rune(each-1)), string(rune(each-1))
	}
	equal(t, contents(t, v), want)
}

// TestLockForgets looks into what a lock leaves in memory of ours.
func TestLockForgets(t *testing.T) {
	v, _ := newVault(t)
	commit(t, v, "k", "v")
	s := v.session
	v.Lock()
	if v.session != nil || s.keys != nil || s.index.runs != nil {
		t.Fatal("keys or index stay after Lock")
	}
	if s.journal != nil || s.headFile != nil {
		t.Fatal("files stay open after Lock")
	}
}

func TestScanSeesChanges(t *testing.T) {
	v, _ := newVault(t)
	commit(t, v, "a", "1", "b", "1", "c", "1", "d", "1")
	var got []string
	stop := errors.New("stop")
	err := v.Scan("", func(key string, value []byte) error {
		got = append(got, key+string(value))
		if key == "a" {
			if err := v.Commit(Change{Key: "b"}, Change{Key: "c", Value: []byte("2")}); err != nil {
				return err
			}
			return v.Compact()
		}
		if key == "c" {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || !slices.Equal(got, []string{"a1", "c2"}) {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestCommitLimits(t *testing.T) {
	v, _ := newVault(t)
	big := make([]byte, MaxValue+1)
	for name, changes := range map[string][]Change{
		"empty key":    {{Key: "", Value: []byte("v")}},
		"long key":     {{Key: strings.Repeat("k", MaxKey+1), Value: []byte("v")}},
		"control key":  {{Key: "a\nb", Value: []byte("v")}},
		"UTF-8 key":    {{Key: "é", Value: []byte("v")}},
		"big value":    {{Key: "k", Value: big}},
		"many":         make([]Change, MaxChanges+1),
		"big together": slices.Repeat([]Change{{Key: "k", Value: big[:MaxValue]}}, MaxCommit/MaxValue+1),
	} {
		if err := v.Commit(append(changes, Change{Key: "good", Value: nil})...); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := v.Commit(); err != nil {
		t.Errorf("nothing to commit: %v", err)
	}
	// The largest commit of each measure is taken and comes back.
	long := strings.Repeat("k", MaxKey-4)
	many := make([]Change, MaxChanges)
	for i := range many {
		many[i] = Change{Key: long + string([]byte{'a' + byte(i>>12), 'a' + byte(i>>8&15), 'a' + byte(i>>4&15), 'a' + byte(i&15)}), Value: []byte{}}
	}
	if err := v.Commit(many...); err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(slices.Repeat([]Change{{Key: "k", Value: big[:MaxValue]}}, MaxCommit/MaxValue)...); err != nil {
		t.Fatal(err)
	}
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if s, err := v.Stats(); err != nil || s.Keys != MaxChanges+1 {
		t.Fatalf("%+v, %v", s, err)
	}
	if value, _, err := v.Get("k"); err != nil || !bytes.Equal(value, big[:MaxValue]) {
		t.Fatalf("largest value: %d bytes, %v", len(value), err)
	}
}

// TestCompactsItself: a journal that is mostly garbage does not grow.
func TestCompactsItself(t *testing.T) {
	v := createOn(t, newMemDisk())
	value := make([]byte, MaxValue)
	for i := range 40 {
		value[0] = byte(i)
		if err := v.Commit(Change{Key: "k", Value: value}); err != nil {
			t.Fatal(err)
		}
		s, err := v.Stats()
		if err != nil || s.Compact != nil || s.Bytes > compactAt+2*MaxValue {
			t.Fatalf("after %d: %+v, %v", i, s, err)
		}
	}
}
