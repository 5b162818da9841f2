package identity

import (
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"

	libcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/cryptobyte"
)

// RelayKeys are the keys that a device uses while it is locked: what it takes
// to carry for others. They lie on disk without a passphrase; whoever copies
// them can carry in the device's name until its ticket ends, and read nothing.
type RelayKeys struct {
	Transport ed25519.PrivateKey // the libp2p identity
	Witness   ed25519.PrivateKey // cosignatures, custody, wipe receipts
	Store     [32]byte           // Badger's key: hides metadata only
}

// VaultKeys are the keys of a person's device that exist only while it is
// unlocked.
type VaultKeys struct {
	Signing ed25519.PrivateKey // signs entries: the author of a log
	Bundle  hpke.PrivateKey    // MLKEM768-X25519, opens what comes on a stick
	MeshKey [32]byte           // opens broadcasts; zero for relays and before enrolment
}

// NewRelayKeys makes relay keys from 96 bytes of rand.
func NewRelayKeys(rand io.Reader) (*RelayKeys, error) {
	var seed [96]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, fmt.Errorf("identity: no randomness for new keys: %w", err)
	}
	return relayKeys(seed[:])
}

func relayKeys(seed []byte) (*RelayKeys, error) {
	if subtle.ConstantTimeCompare(seed[:32], seed[32:64]) == 1 {
		return nil, errors.New("identity: the transport and witness keys are the same: the key file is damaged, or there is no randomness")
	}
	return &RelayKeys{
		Transport: ed25519.NewKeyFromSeed(seed[:32]),
		Witness:   ed25519.NewKeyFromSeed(seed[32:64]),
		Store:     [32]byte(seed[64:96]),
	}, nil
}

// String keeps the keys out of logs and messages.
func (k *RelayKeys) String() string { return "relay keys (secret)" }

// GoString is like String, for %#v.
func (k *RelayKeys) GoString() string { return k.String() }

// LogValue is like String, for slog.
func (k *RelayKeys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// String keeps the keys out of logs and messages.
func (k *VaultKeys) String() string { return "vault keys (secret)" }

// GoString is like String, for %#v.
func (k *VaultKeys) GoString() string { return k.String() }

// LogValue is like String, for slog.
func (k *VaultKeys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// PeerID returns the libp2p id of the transport key.
func (k *RelayKeys) PeerID() peer.ID { return peerIDOf(KeyOf(k.Transport)) }

// marshal returns version ‖ transport seed ‖ witness seed ‖ store key.
func (k *RelayKeys) marshal() []byte {
	out := make([]byte, 0, 97)
	out = append(out, 1)
	out = append(out, k.Transport.Seed()...)
	out = append(out, k.Witness.Seed()...)
	return append(out, k.Store[:]...)
}

func parseRelayKeys(b []byte) (*RelayKeys, error) {
	if len(b) != 97 || b[0] != 1 {
		return nil, errors.New("identity: these are not relay keys of this version")
	}
	return relayKeys(b[1:])
}

// MarshalPEM returns k as "TOCSIN RELAY KEYS". The file is secret: mode 0600.
func (k *RelayKeys) MarshalPEM() []byte { return encodePEM(pemRelayKeys, k.marshal()) }

// ParseRelayKeysPEM reads what [RelayKeys.MarshalPEM] wrote.
func ParseRelayKeysPEM(text []byte) (*RelayKeys, error) {
	b, err := decodePEM(pemRelayKeys, text)
	if err != nil {
		return nil, err
	}
	return parseRelayKeys(b)
}

// NewVaultKeys makes vault keys from 64 bytes of rand. The mesh key is zero
// until the enrolment is opened.
func NewVaultKeys(rand io.Reader) (*VaultKeys, error) {
	var seed [64]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, fmt.Errorf("identity: no randomness for new keys: %w", err)
	}
	return vaultKeys(seed[:32], seed[32:], [32]byte{})
}

func vaultKeys(signing, bundle []byte, mesh [32]byte) (*VaultKeys, error) {
	key, err := hpke.MLKEM768X25519().NewPrivateKey(bundle)
	if err != nil {
		return nil, fmt.Errorf("identity: the bundle key cannot be used: %w", err)
	}
	return &VaultKeys{Signing: ed25519.NewKeyFromSeed(signing), Bundle: key, MeshKey: mesh}, nil
}

// Marshal returns the secret form of k, for the vault and nowhere else:
//
//	struct { uint8 version = 1; opaque signing_seed[32]; opaque bundle<1..2^8-1>; opaque mesh_key[32]; }
func (k *VaultKeys) Marshal() ([]byte, error) {
	bundle, err := k.Bundle.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the bundle key cannot be stored: %w", err)
	}
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddBytes(k.Signing.Seed())
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(bundle) })
	b.AddBytes(k.MeshKey[:])
	return b.Bytes()
}

// ParseVaultKeys reads what [VaultKeys.Marshal] wrote.
func ParseVaultKeys(raw []byte) (*VaultKeys, error) {
	s := cryptobyte.String(raw)
	var version uint8
	var seed, mesh [32]byte
	var bundle cryptobyte.String
	if !s.ReadUint8(&version) || !s.CopyBytes(seed[:]) || !s.ReadUint8LengthPrefixed(&bundle) || !s.CopyBytes(mesh[:]) || !s.Empty() {
		return nil, fmt.Errorf("identity: vault keys: %w", errTruncated)
	}
	if version != 1 {
		return nil, fmt.Errorf("identity: vault keys of version %d are newer than this program", version)
	}
	return vaultKeys(seed[:], bundle, mesh)
}

// NewMeshKey makes the 32-byte key that an authority seals to each clinician
// of a mesh.
func NewMeshKey(rand io.Reader) ([32]byte, error) {
	var k [32]byte
	if _, err := io.ReadFull(rand, k[:]); err != nil {
		return k, fmt.Errorf("identity: no randomness for a mesh key: %w", err)
	}
	return k, nil
}

// DeviceID returns the name of the device whose signing key is k: the first 16
// bytes of SHA-256("tocsin/device/v1\0" ‖ k) in hexadecimal. It is derived, so
// that no issuer can give two devices one name.
func DeviceID(k Key) string {
	sum := sha256.Sum256(join(domainDevice, k[:]))
	return hex.EncodeToString(sum[:16])
}

// TicketKey returns SHA-256("tocsin/ticket-key/v1\0" ‖ signing key), which the
// admission leaf carries. See [NewTicket].
func TicketKey(signing Key) [32]byte {
	return sha256.Sum256(join(domainTicketKey, signing[:]))
}

// peerIDOf returns the libp2p id of an Ed25519 key: an identity multihash, so
// that the key can be read back. Every 32 bytes have one.
func peerIDOf(k Key) peer.ID {
	pub, err := libcrypto.UnmarshalEd25519PublicKey(k[:])
	if err != nil {
		return ""
	}
	id, err := peer.IDFromPublicKey(pub)
	if err != nil {
		return ""
	}
	return id
}

// PeerKey returns the Ed25519 key that id spells out. It fails for ids of
// other kinds of key, and for keys that [CheckKey] refuses.
func PeerKey(id peer.ID) (Key, error) {
	pub, err := id.ExtractPublicKey()
	if err != nil || pub.Type() != libcrypto.Ed25519 {
		return Key{}, errors.New("identity: the peer id is not that of an Ed25519 key")
	}
	raw, err := pub.Raw()
	if err != nil || len(raw) != len(Key{}) {
		return Key{}, errors.New("identity: the peer id is not that of an Ed25519 key")
	}
	k := Key(raw)
	if peerIDOf(k) != id {
		return Key{}, errors.New("identity: the peer id has a second spelling")
	}
	if err := CheckKey(k); err != nil {
		return Key{}, err
	}
	return k, nil
}
