package node

import (
	"testing"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

func TestJournalKeysRoundTrip(t *testing.T) {
	log := identity.LogID{Author: identity.Key{1, 2}, Incarnation: 3}
	tag, g, id := group.Tag{4}, group.ID{5}, ledger.ID{6}

	gotLog, seq, err := parseMessageKey(messageKey(log, 1<<40))
	check(t, err)
	if gotLog != log || seq != 1<<40 {
		t.Errorf("message key: %v %d", gotLog, seq)
	}
	gotTag, gotLog, seq, err := parseWaitKey(waitKey(tag, log, 7))
	check(t, err)
	if gotTag != tag || gotLog != log || seq != 7 {
		t.Errorf("wait key: %v %v %d", gotTag, gotLog, seq)
	}
	gotG, gotID, err := parseReceiptKey(receiptKey(g, id))
	check(t, err)
	if gotG != g || gotID != id {
		t.Errorf("receipt key: %v %v", gotG, gotID)
	}
	if messageKey(log, 9) >= messageKey(log, 10) {
		t.Error("message keys are not in the order of sequence numbers")
	}
}

func TestMalformedJournalKeysAreErrors(t *testing.T) {
	for _, key := range []string{"", "msg/", "msg/x/1", "wait/00/x/0/1", "receipt/zz/", "receipt/00/00"} {
		if _, _, err := parseMessageKey(key); err == nil {
			t.Errorf("message key %q", key)
		}
		if _, _, _, err := parseWaitKey(key); err == nil {
			t.Errorf("wait key %q", key)
		}
		if _, _, err := parseReceiptKey(key); err == nil {
			t.Errorf("receipt key %q", key)
		}
	}
}
