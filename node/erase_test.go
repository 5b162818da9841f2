package node

import (
	"errors"
	"testing"
	"time"

	"tocsin/ledger"
)

// TestErasedMessageIsGone: from the inbox, the vault and the log, after a restart
// too, and nobody brings it back; every log still verifies.
func TestErasedMessageIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m := w.enrol("Ben", orgAmbulance)
	var g string
	var gone, own Sent
	t.Run("erase", func(t *testing.T) {
		b := m.start(t, m.onDisk(t), knows(a))
		ready(t, 1, a, b)
		g = makeGroup(t, a, b)
		inGroup(t, g, b)
		gone = say(t, a, g, "to be erased")
		say(t, a, g, "kept")
		shows(t, b, g, "to be erased", "kept") // else its own may come before what it has not seen
		own = say(t, b, g, "my own")
		shows(t, b, g, "to be erased", "kept", "my own")
		if _, err := b.EraseMessages(t.Context(), token(t, b), g, "00"); !errors.Is(err, ErrInvalid) {
			t.Errorf("no id: %v", err)
		}
		if _, err := b.EraseMessages(t.Context(), token(t, b), g, ledger.ID{1}.String()); !errors.Is(err, ErrNotFound) {
			t.Errorf("an unknown id: %v", err)
		}
		e, err := b.EraseMessages(t.Context(), token(t, b), g, gone.ID, own.ID)
		check(t, err)
		if e.Messages != 2 || e.Words == "" {
			t.Errorf("%+v", e)
		}
		shows(t, b, g, "kept")
		check(t, b.Lock())
		check(t, b.Unlock(t.Context(), []byte(passphrase)))
		shows(t, b, g, "kept")
		shows(t, a, g, "to be erased", "kept", "my own") // on other devices it stays
	})
	t.Run("restart", func(t *testing.T) {
		b := m.start(t, m.onDisk(t), knows(a))
		shows(t, b, g, "kept")
		for _, s := range []Sent{gone, own} {
			id, seq := parsedPlace(t, s)
			if _, held, err := b.cfg.Vault.Get(messageKey(id, seq)); held || err != nil {
				t.Errorf("the vault still holds it: %v %v", held, err)
			}
			e, err := b.logs.Entry(t.Context(), id, seq)
			check(t, err)
			if !e.Erased || e.Body != nil {
				t.Errorf("entry %d: erased %v, %d bytes", seq, e.Erased, len(e.Body))
			}
		}
		k, err := a.HandOver(t.Context(), g, "Ben", time.Time{})
		check(t, err)
		if k != 3 {
			t.Fatalf("%d messages handed over", k)
		}
		say(t, a, g, "after the hand-over")
		shows(t, b, g, "kept", "after the hand-over")
		report, err := b.VerifyLogs(t.Context(), nil)
		check(t, err)
		if !report.OK() || report.Erased != 2 {
			t.Errorf("the logs: %+v", report)
		}
	})
}

func parsedPlace(t *testing.T, s Sent) (ledger.LogID, uint64) {
	t.Helper()
	id, seq, err := parseMessageKey(prefixMessage + s.Log + "/0")
	check(t, err)
	return id, seq + s.Seq
}

// TestErasureGoesOnAfterACrash: the vault's part was done, the ledger's was not.
func TestErasureGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	g := makeGroup(t, a)
	s := say(t, a, g, "x")
	id, err := ledger.ParseID(s.ID)
	check(t, err)
	a.mu.Lock()
	it, ok := a.open.inbox.Message([32]byte(id))
	if !ok {
		t.Fatal("not shown")
	}
	changes, err := a.eraseChanges(t.Context(), id, it)
	check(t, err)
	check(t, a.cfg.Vault.Commit(changes...))
	a.mu.Unlock()
	check(t, a.Lock())
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	shows(t, a, g)
	e, err := a.logs.Entry(t.Context(), a.self, s.Seq)
	check(t, err)
	if !e.Erased {
		t.Error("the sealed body stays")
	}
	if p := a.Status().Problem; p != "" {
		t.Errorf("the device thinks that it was restored: %s", p)
	}
}
