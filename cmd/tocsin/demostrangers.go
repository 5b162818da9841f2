package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"

	"tocsin/ledger"
	"tocsin/mesh"
)

// knock is step 4: a device of an authority that the mesh does not know, and a
// program that speaks plain libp2p.
func (d *demo) knock(ctx context.Context) error {
	if err := d.knockForeign(ctx); err != nil {
		return err
	}
	return d.knockPlain(ctx)
}

// knockForeign runs the node of a device that was enrolled elsewhere. It checks
// nobody itself, as an attacker would not, so that it is refused by the others
// or not at all.
func (d *demo) knockForeign(ctx context.Context) (err error) {
	stranger := impostor()
	m, err := d.foundMeshOf(ctx, "Elsewhere", stranger.hospital)
	if err != nil {
		return err
	}
	if err := errors.Join(d.initDevice(ctx, stranger), d.certify(ctx, m, stranger), d.enrolDevice(ctx, m, stranger)); err != nil {
		return err
	}
	before, err := d.refusals(ctx)
	if err != nil {
		return err
	}
	if stranger.node, err = d.up(ctx, stranger.dir, stranger.secret, unsafeAdmission, d.addresses(d.cast, 0)); err != nil {
		return fmt.Errorf("the stranger's node: %w", err)
	}
	defer func() { err = errors.Join(err, stranger.node.stop()) }()
	id := stranger.node.report.Status.PeerID
	if err := d.until(ctx, func(ctx context.Context) (string, error) { return d.refused(ctx, before, id) }); err != nil {
		return err
	}
	st, err := stranger.node.client.Status(ctx)
	if err != nil {
		return err
	}
	people, err := stranger.node.client.People(ctx)
	if err != nil {
		return err
	}
	if st.Logs > 1 || len(people) > 1 {
		return fmt.Errorf("the stranger learnt of %d people and holds %d logs", len(people), st.Logs)
	}
	d.checked("a device certified by an authority that the mesh does not know called all five; each refused it before a word was said, and it learnt of nobody")
	return nil
}

// refusals counts the connections that each node has refused.
func (d *demo) refusals(ctx context.Context) ([]uint64, error) {
	var counts []uint64
	for _, c := range d.cast {
		st, err := c.node.client.Status(ctx)
		if err != nil {
			return nil, err
		}
		var sum uint64
		for _, n := range st.Refused {
			sum += n
		}
		counts = append(counts, sum)
	}
	return counts, nil
}

// refused names a node that has not refused anybody since before. A node that
// took the stranger in is an error.
func (d *demo) refused(ctx context.Context, before []uint64, id string) (string, error) {
	for _, c := range d.cast {
		peers, err := c.node.client.Peers(ctx)
		if err != nil {
			return "", err
		}
		for _, p := range peers {
			if p.ID == id {
				return "", fmt.Errorf("%s's node took the stranger in", c.first())
			}
		}
	}
	now, err := d.refusals(ctx)
	if err != nil {
		return "", err
	}
	for i, c := range d.cast {
		if now[i] <= before[i] {
			return fmt.Sprintf("%s's node has refused nobody", c.first()), nil
		}
	}
	return "", nil
}

// plainPatience bounds one attempt of the plain host.
const plainPatience = 5 * time.Second

// knockPlain connects with stock libp2p, whose Noise, TLS and QUIC are as good as
// anybody's and carry no admission.
func (d *demo) knockPlain(ctx context.Context) (err error) {
	ben := d.cast[1]
	h, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		return fmt.Errorf("the plain host: %w", err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	for _, transport := range []string{"tcp", "quic-v1"} {
		info, err := peer.AddrInfoFromString(ben.node.address(transport))
		if err != nil {
			return err
		}
		if opened, ok := d.tryStreams(ctx, h, *info); ok {
			return fmt.Errorf("a plain libp2p host opened a stream for %s with %s's node by %s", opened, ben.first(), transport)
		}
		if err := h.Network().ClosePeer(info.ID); err != nil {
			return err
		}
	}
	peers, err := ben.node.client.Peers(ctx)
	if err != nil {
		return err
	}
	for _, p := range peers {
		if p.ID == h.ID().String() {
			return fmt.Errorf("%s's node took the plain host in", ben.first())
		}
	}
	d.checked("a plain libp2p program called %s's node by TCP and by QUIC: no stream could be opened, and it is nobody's neighbour", ben.first())
	return nil
}

// tryStreams dials and tries every protocol of interest. On QUIC the dial itself
// may seem to succeed: the refusal comes right behind it.
func (d *demo) tryStreams(ctx context.Context, h host.Host, info peer.AddrInfo) (protocol.ID, bool) {
	ctx, cancel := context.WithTimeout(ctx, plainPatience)
	defer cancel()
	if h.Connect(ctx, info) != nil {
		return "", false
	}
	for _, id := range []protocol.ID{mesh.GossipProtocol, mesh.SyncProtocol, identify.ID} {
		s, err := h.NewStream(ctx, info.ID, id)
		if err != nil {
			continue
		}
		// Negotiation is lazy: only an answer shows that somebody listens.
		if err := s.SetReadDeadline(time.Now().Add(plainPatience)); err != nil {
			continue
		}
		if _, err := s.Write([]byte{0}); err != nil {
			continue
		}
		if n, _ := s.Read(make([]byte, 1)); n > 0 {
			return id, true
		}
	}
	return "", false
}

// noReadableWord looks for every message sent so far in all files of a node and
// in its metrics, in the forms that people forget.
func (d *demo) noReadableWord(ctx context.Context, c *clinician) error {
	metrics, err := c.node.client.Metrics(ctx)
	if err != nil {
		return err
	}
	look := newSieve(d.said...)
	if found := look.find([]byte(metrics)); found != "" {
		return fmt.Errorf("the metrics of %s's node hold a message as %s", c.first(), found)
	}
	return scanFiles(c.dir, look)
}

// sealedOnDisk opens the store of a node that does not run, with the key that
// lies beside it, and looks into every entry. It returns how many there are.
func (d *demo) sealedOnDisk(ctx context.Context, c *clinician) (entries int, err error) {
	r, err := d.openOfflineLogs(ctx, dataDir(c.dir))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	look := newSieve(d.said...)
	for _, h := range r.all.Frontier() {
		if err := r.all.Entries(ctx, h.Log, 0, h.Next, func(e *ledger.Entry) error {
			entries++
			if found := look.find(e.Frame()); found != "" {
				return fmt.Errorf("entry %d of log %s holds a message as %s", e.Header.Seq, short(h.Log.String()), found)
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	return entries, nil
}

// needle is one form of a text.
type needle struct {
	form  string
	bytes []byte
}

// disguises returns the forms in which a text might lie about: as it is, in
// UTF-16, hexadecimal, and in base64 at each of the three positions.
func disguises(text string) []needle {
	var wide, wideBig []byte
	for _, u := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(u), byte(u>>8))
		wideBig = append(wideBig, byte(u>>8), byte(u))
	}
	lower := hex.EncodeToString([]byte(text))
	needles := []needle{
		{"text", []byte(text)}, {"UTF-16", wide}, {"UTF-16", wideBig},
		{"hexadecimal", []byte(lower)}, {"hexadecimal", []byte(strings.ToUpper(lower))},
	}
	for shift := range 3 {
		// The letters at both ends depend on what stands beside the text.
		padded := append(make([]byte, shift), text...)
		padded = padded[:len(padded)/3*3]
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			needles = append(needles, needle{"base64", []byte(enc.EncodeToString(padded)[4:])})
		}
	}
	return needles
}

// sieve looks for many needles in one pass: they are kept by their first two bytes.
type sieve struct{ starting [1 << 16][]needle }

// newSieve looks for texts in every disguise.
func newSieve(texts ...string) *sieve {
	s := new(sieve)
	for _, text := range texts {
		for _, n := range disguises(text) {
			start := binary.BigEndian.Uint16(n.bytes)
			s.starting[start] = append(s.starting[start], n)
		}
	}
	return s
}

// find returns the form of a needle that is in a haystack, "" for none.
func (s *sieve) find(haystack []byte) string {
	for i := range len(haystack) - 1 {
		for _, n := range s.starting[binary.BigEndian.Uint16(haystack[i:])] {
			if bytes.HasPrefix(haystack[i:], n.bytes) {
				return n.form
			}
		}
	}
	return ""
}

// scanFiles reads every regular file below dir. Files that end in zeros were
// made long in advance.
func scanFiles(dir string, look *sieve) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a database removes files as it works
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if found := look.find(bytes.TrimRight(data, "\x00")); found != "" {
			return fmt.Errorf("the file %s holds a message as %s", filepath.Base(path), found)
		}
		return nil
	})
}
