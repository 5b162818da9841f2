package identity

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestTicketRules(t *testing.T) {
	h := newHouse(t)
	adm, err := h.store.VerifyAdmission(h.enrolment.Admission, h.relay.PeerID(), noon)
	if err != nil {
		t.Fatal(err)
	}
	end := noon.Add(MaxTicketLife)
	good, err := NewTicket(h.vault.Signing, h.relay.PeerID(), noon, end)
	if err != nil {
		t.Fatal(err)
	}
	otherPeer := peerIDOf(KeyOf(h.relay.Witness))
	forOther, err := NewTicket(h.vault.Signing, otherPeer, noon, end)
	if err != nil {
		t.Fatal(err)
	}
	byTransport, err := NewTicket(h.relay.Transport, h.relay.PeerID(), noon, end)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	longer := bytes.Clone(good) // ends a second later than what was signed
	longer[len(longer)-65]++
	version2 := bytes.Clone(good)
	version2[0] = 2
	afterAges := bytes.Clone(good) // after the year 9999
	afterAges[len(afterAges)-72] = 0xff
	padded := append(bytes.Clone(good), bytes.Repeat([]byte{0}, MaxTicket)...)
	for _, tc := range []struct {
		name   string
		ticket []byte
		at     time.Time
		want   check
		kind   error
	}{
		{"nothing", nil, noon, checkTicketEncoding, nil},
		{"cut short", good[:len(good)-1], noon, checkTicketEncoding, nil},
		{"a byte after the end", append(bytes.Clone(good), 0), noon, checkTicketEncoding, nil},
		{"over 512 bytes", padded, noon, checkTicketEncoding, nil},
		{"ends after the year 9999", afterAges, noon, checkTicketEncoding, nil},
		{"version 2", version2, noon, checkTicketEncoding, nil},
		{"signed by the transport key of a thief", byTransport, noon, checkTicketHolder, nil},
		{"for another peer", forOther, noon, checkTicketPeer, nil},
		{"signature flipped", flipped, noon, checkTicketSignature, nil},
		{"lease made longer", longer, noon, checkTicketSignature, nil},
		{"a second after its end", good, end.Add(time.Second), checkTicketEnded, ErrExpired},
		{"more than a lease and a day ahead", good, noon.Add(-MaxClockLead - time.Second), checkTicketLease, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assertRefused(t, h.store.VerifyTicket(tc.ticket, adm, tc.at), tc.want, tc.kind)
		})
	}
	if got, err := TicketNotAfter(good); err != nil || !got.Equal(end) {
		t.Errorf("the ticket ends on %v, %v", got, err)
	}
	if _, err := TicketNotAfter(nil); err == nil {
		t.Error("no ticket has an end")
	}
	for _, at := range []time.Time{noon.Add(-MaxClockLead), noon, end} {
		if err := h.store.VerifyTicket(good, adm, at); err != nil {
			t.Errorf("refused at %v: %v", at, err)
		}
	}
}

func TestNewTicketErrors(t *testing.T) {
	h := newHouse(t)
	id := h.relay.PeerID()
	for name, make := range map[string]func() ([]byte, error){
		"ends now":       func() ([]byte, error) { return NewTicket(h.vault.Signing, id, noon, noon) },
		"ends in 8 days": func() ([]byte, error) { return NewTicket(h.vault.Signing, id, noon, noon.Add(MaxTicketLife+1)) },
		"no peer":        func() ([]byte, error) { return NewTicket(h.vault.Signing, "", noon, noon.Add(time.Hour)) },
		"clock before 1970": func() ([]byte, error) {
			old := time.Unix(-10000, 0)
			return NewTicket(h.vault.Signing, id, old, old.Add(time.Hour))
		},
	} {
		if b, err := make(); err == nil || b != nil || !strings.HasPrefix(err.Error(), "identity: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
