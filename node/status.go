package node

import (
	"time"

	"tocsin/ledger"
	"tocsin/mesh"
)

// Peer is a direct neighbour.
type Peer = mesh.Peer

// VerifyReport is what [Node.VerifyLogs] found.
type VerifyReport = ledger.Report

// Status is what a node says of itself. It holds no message and no patient
// data.
type Status struct {
	Version            string    `json:"version"`
	Mesh               string    `json:"mesh"`    // name of the trust bundle
	MeshID             string    `json:"mesh_id"` // hex
	Name               string    `json:"name"`    // display name, from the credential
	Person             string    `json:"person"`  // org/regulator/number
	Org                string    `json:"org"`
	Device             string    `json:"device"`
	PeerID             string    `json:"peer_id"`
	Log                string    `json:"log"`
	Relay              bool      `json:"relay"`
	Locked             bool      `json:"locked"`
	Online             bool      `json:"online"`
	Addrs              []string  `json:"addrs"`
	Peers              int       `json:"peers"`
	Logs               int       `json:"logs"`
	Entries            uint64    `json:"entries"`
	Waiting            int       `json:"waiting"` // sealed messages for which no epoch is held
	Started            time.Time `json:"started"`
	CredentialNotAfter time.Time `json:"credential_not_after"`
	TicketNotAfter     time.Time `json:"ticket_not_after"`
	// Wiped: this device has begun to wipe itself, or has done so.
	Wiped   bool      `json:"wiped"`
	WipedAt time.Time `json:"wiped_at,omitzero"`
	// HasPIN: a PIN is set. While locked it can be tried if PINReady, PINAttempts
	// times before only the passphrase is left.
	HasPIN      bool `json:"has_pin"`
	PINReady    bool `json:"pin_ready"`
	PINAttempts int  `json:"pin_attempts"`
	// LeaseEnded: nobody unlocked it for as long as its lease, so that only the
	// passphrase does now.
	LeaseEnded      bool            `json:"lease_ended"`
	IdleLockSeconds int             `json:"idle_lock_seconds"` // 0: it never locks itself
	Standing        Standing        `json:"standing"`          // of this device's credential
	Revocation      []RevocationAge `json:"revocation"`        // how old revocation data is, by issuer
	Declared        []Declared      `json:"declared,omitempty"`
	BundleNumber    uint32          `json:"bundle_number"`
	// LowBandwidth is whether only headers and urgent messages are asked for.
	LowBandwidth ThriftState `json:"low_bandwidth"`
	// StatWaiting is how many stat entries of others came since the device was
	// locked, whomever they are for; 0 while it is unlocked.
	StatWaiting int `json:"stat_waiting,omitempty"`
	// Exercises is how many conversations here are of an exercise that is not over; 0 while locked.
	Exercises int `json:"exercises,omitempty"`
	// Transfer is how many messages are on their way into the record, by state; nil while locked.
	Transfer *TransferCounts `json:"transfer,omitempty"`
	// Forks is how many logs are forked: [Node.Forks].
	Forks int `json:"forks,omitempty"`
	// Refused counts refused connections by reason.
	Refused map[string]uint64 `json:"refused,omitempty"`
	// Spoilers are the neighbours that handed us entries with spoilt signatures.
	Spoilers    []Spoiler        `json:"spoilers,omitempty"`
	Attachments AttachmentStatus `json:"attachments"`
	// Problem is empty, or one sentence that says what is wrong and what to do.
	Problem string `json:"problem,omitempty"`
}

// Person is one device of one person, as its credential says.
type Person struct {
	Name       string    `json:"name"`
	Org        string    `json:"org"`
	Regulator  string    `json:"regulator"`
	Number     string    `json:"number"`
	Roles      []string  `json:"roles"`
	Grade      string    `json:"grade,omitempty"`
	Device     string    `json:"device"`
	PeerID     string    `json:"peer_id,omitempty"` // of its transport key; empty while its credential is not known
	Log        string    `json:"log"`
	Self       bool      `json:"self"`
	Relay      bool      `json:"relay"`
	Reachable  bool      `json:"reachable"` // a direct neighbour now
	Ready      bool      `json:"ready"`     // a prekey is held: messages can be sealed to it
	Valid      bool      `json:"valid"`     // the credential counts now
	NotAfter   time.Time `json:"not_after"`
	Credential string    `json:"credential"` // issuer

	Standing   Standing   `json:"standing"`
	Registrar  bool       `json:"registrar,omitempty"`  // issued by a registrar
	Sponsored  *Sponsored `json:"sponsored,omitempty"`  // colleagues vouched for it
	VerifiedAt time.Time  `json:"verified_at,omitzero"` // in person, on this device; zero while locked
	Wipe       *WipeState `json:"wipe,omitempty"`       // it was ordered to wipe itself

	// Replaces is the log that this one goes on for, with the reason, in words that
	// follow "closed: ", and the time; ReplacedBy is the log that goes on for this one.
	Replaces    string    `json:"replaces,omitempty"`
	ReplacedWhy string    `json:"replaced_why,omitempty"`
	ReplacedAt  time.Time `json:"replaced_at,omitzero"`
	ReplacedBy  string    `json:"replaced_by,omitempty"`
	// Cloned: somebody else wrote to its log before; it goes on in another one under
	// the same credential, and is to be given a new one.
	Cloned bool       `json:"cloned,omitempty"`
	Fork   *ForkState `json:"fork,omitempty"` // it signed two entries at one place
}

// GroupSpec asks for a new group. Each member is a person
// ("org/regulator/number"), a log ("<author>/<incarnation>") or a display name
// that only one person has. The creator is a member without being named.
type GroupSpec struct {
	Kind    string   `json:"kind"` // direct, team or incident
	Name    string   `json:"name"`
	Members []string `json:"members"`
}

// Sent says where a message was saved. It is durable on this device; what
// became of it further on is its delivery state.
type Sent struct {
	ID    string    `json:"id"`  // entry id, hex
	Log   string    `json:"log"` // this device's log
	Seq   uint64    `json:"seq"`
	Time  time.Time `json:"time"`
	State string    `json:"state"` // "saved"
	// Nobody names those of whom the message is for that call nobody now: roles that nobody holds, people who are not in the group.
	Nobody []string `json:"nobody,omitempty"`
}

// LogInfo is one log, for people.
type LogInfo struct {
	Log     string `json:"log"`
	Author  string `json:"author,omitempty"` // display name, when the credential is held
	Entries uint64 `json:"entries"`
	Head    string `json:"head"` // id of the newest entry, hex
	Own     bool   `json:"own"`
}

// EntryInfo is the header of one entry, for people.
type EntryInfo struct {
	ID       string    `json:"id"`
	Log      string    `json:"log"`
	Seq      uint64    `json:"seq"`
	Prev     string    `json:"prev"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Priority string    `json:"priority"`
	Bytes    int       `json:"bytes"`
	Author   string    `json:"author,omitempty"` // display name, when the credential is held
}

// Metrics are counters since start. None is labelled with a person, a patient
// or a peer.
type Metrics struct {
	Logs, Entries                              uint64
	Appended, Known, Penned, Forked, OverLimit uint64
	Refused                                    uint64 // failed [ledger.Verify]
	Proved, Checked, Spoilt                    uint64 // entries of proved ranges: stored, signatures checked, of them wrong
	Carried                                    uint64 // bytes of bodies held for others, now
	NotCarried, Evicted                        uint64 // bodies for others that were not kept, or given up
	StoreErrors                                uint64
	Opened, Unopened, Unprovable               uint64
	Sent, PublishFailed                        uint64
	Announced                                  uint64 // epochs of this device
	Unreadable                                 uint64 // requests to seal again
	StatementsRefused                          uint64
	Pulls, PullFailures                        uint64
	Mesh                                       mesh.Stats
}
