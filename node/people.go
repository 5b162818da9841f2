package node

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// directory holds the credential behind every log. It is the ledger's
// [ledger.Authors]: an author is known once seq 0 of one of its logs carried a
// credential that chains to the mesh's trust bundle. Whether that credential
// has expired decides display and admission and never storage, because it is
// not the same on every device (protocol §3).
type directory struct {
	trust *identity.TrustStore
	self  identity.Key // this device, whose credential was handed in

	mu    sync.RWMutex
	creds map[identity.Key]*identity.Credential // guarded by mu
	logs  map[identity.LogID]struct{}           // guarded by mu: logs whose seq 0 is held
}

func newDirectory(trust *identity.TrustStore, own *identity.Credential) *directory {
	return &directory{
		trust: trust,
		self:  own.SigningKey,
		creds: map[identity.Key]*identity.Credential{own.SigningKey: own},
		logs:  map[identity.LogID]struct{}{{Author: own.SigningKey}: {}},
	}
}

var errNoCredential = errors.New("node: the first entry of a log carries its author's credential")

// Known implements [ledger.Authors].
func (d *directory) Known(k identity.Key) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.creds[k] != nil
}

// Admit implements [ledger.Authors].
func (d *directory) Admit(first *ledger.Entry) error {
	t, content, err := parseControl(first.Body)
	if err != nil {
		return err
	}
	if t != controlCredential {
		return errNoCredential
	}
	c, err := d.trust.ReadCredential(content)
	if err != nil {
		return err
	}
	if c.SigningKey != first.Header.Author {
		return errNoCredential
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	log := first.Header.Log()
	if d.newest(log) && log.Author != d.self {
		d.creds[c.SigningKey] = c
	}
	d.logs[log] = struct{}{}
	return nil
}

// newest reports whether no later incarnation of the log's author is known,
// whose credential is the one that counts. d.mu is held.
func (d *directory) newest(log identity.LogID) bool {
	for other := range d.logs {
		if other.Author == log.Author && other.Incarnation > log.Incarnation {
			return false
		}
	}
	return true
}

func (d *directory) credential(k identity.Key) *identity.Credential {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.creds[k]
}

// device is one log with its credential.
type device struct {
	log  identity.LogID
	cred *identity.Credential
}

// devices returns the newest incarnation of every known device, ordered by
// name, then log.
func (d *directory) devices() []device {
	d.mu.RLock()
	newest := make(map[identity.Key]uint32)
	for id := range d.logs {
		if inc, ok := newest[id.Author]; !ok || id.Incarnation > inc {
			newest[id.Author] = id.Incarnation
		}
	}
	out := make([]device, 0, len(newest))
	for k, inc := range newest {
		out = append(out, device{identity.LogID{Author: k, Incarnation: inc}, d.creds[k]})
	}
	d.mu.RUnlock()
	slices.SortFunc(out, func(a, b device) int {
		if c := strings.Compare(a.cred.Claims.Name, b.cred.Claims.Name); c != 0 {
			return c
		}
		return a.log.Compare(b.log)
	})
	return out
}

// People returns every known device with the person behind it, by name. It
// works while locked, because credentials are no secret inside the mesh.
func (n *Node) People() ([]Person, error) {
	near := make(map[peer.ID]bool)
	for _, p := range n.mesh.Peers() {
		near[p.ID] = true
	}
	now := n.cfg.Clock.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []Person
	for _, d := range n.people.devices() {
		c := d.cred
		out = append(out, Person{
			Name: c.Claims.Name, Org: c.Person.Org, Regulator: c.Person.Regulator, Number: c.Person.Number,
			Roles: c.Claims.Roles, Grade: c.Claims.Grade, Device: c.Device, Log: d.log.String(),
			Self: d.log.Author == n.cred.SigningKey, Relay: c.Claims.Relay, Reachable: near[c.Peer],
			Ready:    n.open != nil && n.open.keyring.HasPreKey(d.log, now),
			Valid:    c.ValidAt(now) == nil,
			NotAfter: c.NotAfter, Credential: c.Issuer,
		})
	}
	return out, nil
}

// resolve finds the devices that a member's name in a [GroupSpec] means.
func (d *directory) resolve(member string) ([]identity.LogID, error) {
	var logs []identity.LogID
	persons := make(map[string]bool)
	for _, dev := range d.devices() {
		c := dev.cred
		if c.Claims.Relay {
			continue
		}
		if member == dev.log.String() {
			return []identity.LogID{dev.log}, nil
		}
		if member == c.Person.String() || strings.EqualFold(member, c.Claims.Name) {
			persons[c.Person.String()] = true
			logs = append(logs, dev.log)
		}
	}
	switch {
	case len(logs) == 0:
		return nil, invalid("nobody known is called %q: `tocsin people` lists who is, and a device is known once it has been met", member)
	case len(persons) > 1:
		return nil, invalid("%d people are called %q: name one as organisation/regulator/number, as `tocsin people` shows", len(persons), member)
	}
	return logs, nil
}
