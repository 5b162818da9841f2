package node

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	creds map[identity.Key]*identity.Credential   // guarded by mu
	logs  map[identity.LogID]struct{}             // guarded by mu: logs whose seq 0 is held
	first map[identity.LogID]*identity.Credential // guarded by mu: what seq 0 of a log carried

	closings  map[identity.LogID]*closed // guarded by mu, as what it points to: by the log that goes on
	ends      map[identity.Key][]*closed // guarded by mu: the same by the author of the log that was closed
	unchecked map[*closed]struct{}       // guarded by mu: key rolls of which the first entry of the old log was not held
	kinship   atomic.Pointer[kinship]    // what the closings amount to; nil after a change

	witnesses map[identity.Key]identity.Key // guarded by mu: from witness key to signing key
	peers     map[peer.ID]struct{}          // guarded by mu: transport keys of devices of which a log is held
}

func newDirectory(trust *identity.TrustStore, own *identity.Credential) *directory {
	return &directory{
		trust:     trust,
		self:      own.SigningKey,
		creds:     map[identity.Key]*identity.Credential{own.SigningKey: own},
		logs:      map[identity.LogID]struct{}{{Author: own.SigningKey}: {}},
		closings:  make(map[identity.LogID]*closed),
		ends:      make(map[identity.Key][]*closed),
		unchecked: make(map[*closed]struct{}),
		first:     make(map[identity.LogID]*identity.Credential),
		witnesses: map[identity.Key]identity.Key{own.Claims.Witness: own.SigningKey},
		peers:     make(map[peer.ID]struct{}),
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
	f, err := d.readFirst(first)
	if err != nil {
		return err
	}
	if c := f.closed; c != nil {
		if _, held := d.held(c.next); !held {
			d.mu.RLock()
			n, _ := d.restarts(c.next, f.cred, c.cred, c.at())
			d.mu.RUnlock()
			if n >= maxTaken {
				return errRestarts
			}
		}
	}
	d.admitted(first.Header.Log(), f)
	return nil
}

// held returns how a log took over, and false if its first entry is not here.
func (d *directory) held(log identity.LogID) (*closed, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, ok := d.logs[log]
	return d.closings[log], ok
}

// admitted takes what the first entry of a log says, which counts.
func (d *directory) admitted(log identity.LogID, f *firstEntry) {
	verdicts := d.rollVerdicts(log, f) // before it is listed: a device is listed once
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.newest(log) && log.Author != d.self {
		d.creds[log.Author], d.witnesses[f.cred.Claims.Witness] = f.cred, log.Author
	}
	d.note(f)
	d.settle(verdicts)
	d.logs[log], d.first[log], d.peers[f.cred.Peer] = struct{}{}, f.cred, struct{}{}
}

// knowsPeer reports whether the first entry of a log of the device with this transport key is held.
func (d *directory) knowsPeer(p peer.ID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, known := d.peers[p]
	return known
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

// devices returns the newest log of every known device, ordered by name, then
// log.
func (d *directory) devices() []device {
	d.mu.RLock()
	newest := make(map[identity.Key]uint32)
	for id := range d.logs {
		if inc, ok := newest[id.Author]; !ok || id.Incarnation > inc {
			newest[id.Author] = id.Incarnation
		}
	}
	out := make([]device, 0, len(newest))
	kin := d.kin()
	for k, inc := range newest {
		if now := kin.keys.Newest(identity.LogID{Author: k}).Author; now != k {
			if _, listed := newest[now]; listed {
				continue // it is known by its new key
			}
		}
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

// nextEnd is when the next sponsored credential ends that has not; zero for
// none.
func (d *directory) nextEnd(now time.Time) time.Time {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var next time.Time
	for _, c := range d.creds {
		if len(c.Sponsors) > 0 && !c.NotAfter.Before(now) && (next.IsZero() || c.NotAfter.Before(next)) {
			next = c.NotAfter
		}
	}
	return next
}

// People returns every known device with the person behind it, by name. It
// works while locked, because credentials are no secret inside the mesh; when
// people were met in person is shown only while unlocked.
func (n *Node) People() ([]Person, error) {
	near := n.neighbours()
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []Person
	for _, d := range n.people.devices() {
		out = append(out, n.personOf(d.log, near))
	}
	return out, nil
}

// neighbours are the peers that are connected now.
func (n *Node) neighbours() map[peer.ID]bool {
	near := make(map[peer.ID]bool)
	for _, p := range n.mesh.Peers() {
		near[p.ID] = true
	}
	return near
}

// personByKey is personOf for the newest log of a key, or for a newcomer whose
// request was looked at. n.mu is held.
func (n *Node) personByKey(k identity.Key) Person {
	for _, d := range n.people.devices() {
		if d.log.Author == k {
			return n.personOf(d.log, n.neighbours())
		}
	}
	p := Person{Log: identity.LogID{Author: k}.String(), Device: identity.DeviceID(k)}
	if n.open == nil {
		return p
	}
	if req := n.open.newcomers[k]; req != nil {
		w := req.Wish()
		p.Name, p.Org, p.Regulator, p.Number, p.Roles = w.Claims.Name, w.Person.Org, w.Person.Regulator, w.Person.Number, w.Claims.Roles
		p.NotAfter = req.NotAfter()
	}
	p.VerifiedAt = n.verifiedAt(k)
	return p
}

// personOf is what is known of the device that writes a log. n.mu is held.
func (n *Node) personOf(log identity.LogID, near map[peer.ID]bool) Person {
	now := n.cfg.Clock.Now()
	p := Person{Log: log.String(), Self: log.Author == n.cred.SigningKey}
	c := n.people.credential(log.Author)
	if c == nil {
		return p
	}
	p.Name, p.Org, p.Regulator, p.Number = c.Claims.Name, c.Person.Org, c.Person.Regulator, c.Person.Number
	p.Roles, p.Grade, p.Device, p.Relay = c.Claims.Roles, c.Claims.Grade, c.Device, c.Claims.Relay
	p.PeerID, p.Reachable, p.NotAfter = c.Peer.String(), near[c.Peer], c.NotAfter
	p.Credential, p.Registrar = c.Issuer, c.Registrar
	standing := n.trust.Standing(c, now)
	p.Standing = standingOf(standing)
	p.Valid = p.Standing.good()
	p.Sponsored = sponsoredOf(c, now)
	p.Wipe = n.wipeOf(c, standing)
	n.people.closingsOf(log).describe(&p)
	p.Fork = n.forkOf(log.Author)
	if n.open != nil {
		p.Ready = n.open.keyring.HasPreKey(log, now)
		p.VerifiedAt = n.verifiedAt(c.SigningKey)
	}
	return p
}

// verifiedAt is when a key was verified in person on this device; zero if never.
func (n *Node) verifiedAt(k identity.Key) time.Time {
	v, ok, err := n.verification(k)
	if err != nil {
		n.log.Error("the record of a meeting in person cannot be read", "err", err)
	}
	if !ok {
		return time.Time{}
	}
	return v.At
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
