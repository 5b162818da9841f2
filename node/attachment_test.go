package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/ledger/blob"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// fileOf is a file of so many bytes that does not compress.
func fileOf(size int) []byte {
	out := make([]byte, 0, size+32)
	for i := 0; len(out) < size; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		out = append(out, sum[:]...)
	}
	return out[:size]
}

func attach(t testing.TB, n *Node, groupID, name string, data []byte) Sent {
	t.Helper()
	spec := AttachSpec{Name: name, Priority: "routine"}
	if strings.HasPrefix(mediaOf(data[:min(len(data), sniff)]), "image/") {
		spec.Shows = string(message.ShowsNoPatient)
	}
	s, err := n.Attach(t.Context(), groupID, spec, bytes.NewReader(data))
	check(t, err)
	return s
}

// attachment returns what a node says of one; false while it does not know it.
func attachment(t testing.TB, n *Node, id string) (AttachmentInfo, bool) {
	t.Helper()
	all, err := n.Attachments("")
	check(t, err)
	for _, a := range all {
		if a.ID == id {
			return a, true
		}
	}
	return AttachmentInfo{}, false
}

// arrives waits until an attachment is here whole, and compares it.
func arrives(t testing.TB, n *Node, id string, want []byte) AttachmentInfo {
	t.Helper()
	eventually(t, n.cred.Claims.Name+" has the attachment", func() bool {
		a, ok := attachment(t, n, id)
		return ok && a.State == inbox.HeldHere
	})
	info, r, err := n.OpenAttachment(t.Context(), id)
	check(t, err)
	got, err := io.ReadAll(r)
	check(t, err)
	check(t, r.Close())
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came, %d were sent, and they differ", len(got), len(want))
	}
	return info
}

func TestAttachmentArrives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	data := fileOf(300_000)
	s := attach(t, a, g, "../plan of ward 5.pdf", data)
	info := arrives(t, b, s.ID, data)
	if info.Name != "plan of ward 5.pdf" || info.Size != 300_000 || info.From != "Amara Okafor" || info.Chunks != 5 || info.Own {
		t.Errorf("%+v", info)
	}
	arrives(t, a, s.ID, data)
	items, err := b.Messages(g, 0, 0)
	check(t, err)
	if len(items) != 1 || items[0].Held == nil || items[0].Held.State != inbox.HeldHere {
		t.Errorf("the conversation shows %+v", items)
	}
	eventually(t, "delivered", func() bool {
		items, err := a.Messages(g, 0, 0)
		return err == nil && len(items) == 1 && items[0].State == inbox.StateDelivered
	})
}

// TestAttachmentOfAnErasedMessage: with the message its chunks go, but for those that another message names; what a crash
// left behind goes with the next unlock.
func TestAttachmentOfAnErasedMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Amara Okafor", orgHospital)
	a := m.start(t)
	g := makeGroup(t, a)
	data := fileOf(100_000)
	s := attach(t, a, g, "a.bin", data)
	kept := a.attached.store.Kept()
	if len(kept) != 2 {
		t.Fatalf("%d chunks are kept", len(kept))
	}
	_, r, err := a.OpenAttachment(t.Context(), s.ID)
	check(t, err)
	token, err := a.Reauth(t.Context(), Secret{Passphrase: []byte(passphrase)})
	check(t, err)
	_, err = a.EraseMessages(t.Context(), token.Token, g, s.ID)
	check(t, err)
	if left := a.attached.store.Kept(); len(left) != 0 {
		t.Errorf("%d chunks are left", len(left))
	}
	if _, _, err := a.OpenAttachment(t.Context(), s.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("opened again: %v", err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, ErrNotFound) {
		t.Errorf("a reader that was open: %v", err)
	}

	s = attach(t, a, g, "b.bin", data)
	name, sealed, err := sealChunk([32]byte{9}, 0, []byte("of a file that was never sent"))
	check(t, err)
	check(t, a.attached.store.Put(name, sealed, true))
	check(t, a.Lock())
	if _, err := a.Attach(t.Context(), g, AttachSpec{Name: "x", Priority: "routine"}, bytes.NewReader(data)); !errors.Is(err, ErrLocked) {
		t.Errorf("attached while locked: %v", err)
	}
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	if a.attached.store.Has(name) || len(a.attached.store.Kept()) != 2 {
		t.Error("the unlock swept too little or too much")
	}
	arrives(t, a, s.ID, data)
}

func TestAttachRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t, func(cfg *Config) { cfg.Attachments.Keep = 200_000 })
	g := makeGroup(t, a)
	for what, c := range map[string]struct {
		group string
		spec  AttachSpec
		file  io.Reader
		want  error
	}{
		"nothing":         {g, AttachSpec{Priority: "routine"}, bytes.NewReader(nil), ErrInvalid},
		"no group":        {"00", AttachSpec{Priority: "routine"}, bytes.NewReader([]byte("x")), ErrInvalid},
		"another group":   {strings.Repeat("0", 64), AttachSpec{Priority: "routine"}, bytes.NewReader([]byte("x")), ErrNotFound},
		"an odd priority": {g, AttachSpec{Priority: "now"}, bytes.NewReader([]byte("x")), ErrInvalid},
		"a long caption":  {g, AttachSpec{Priority: "routine", Caption: strings.Repeat("x", 2000)}, bytes.NewReader([]byte("x")), ErrInvalid},
		"no room":         {g, AttachSpec{Priority: "routine"}, bytes.NewReader(fileOf(300_000)), ErrReadOnly},
		"a broken file":   {g, AttachSpec{Priority: "routine"}, io.MultiReader(bytes.NewReader(fileOf(100_000)), iotest.ErrReader(io.ErrClosedPipe)), io.ErrClosedPipe},
		"a bad picture":   {g, AttachSpec{Priority: "routine", Shows: "no-patient"}, bytes.NewReader(jpegOf(t, quarters(64, 64))[:300]), ErrInvalid},
	} {
		if _, err := a.Attach(t.Context(), c.group, c.spec, c.file); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if left := a.attached.store.Kept(); len(left) != 0 {
			t.Errorf("%s left %d chunks", what, len(left))
		}
	}
	if all, err := a.Attachments(g); err != nil || len(all) != 0 {
		t.Errorf("%d attachments, %v", len(all), err)
	}
}

// TestAttachmentIsAPicture: its thumbnail comes, and what the camera wrote does not.
func TestAttachmentIsAPicture(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	photo := exif(jpegOf(t, quarters(640, 320)), binary.BigEndian, 1)
	bare := attach(t, a, g, "ward.jpg", photo)
	eventually(t, "the picture is here", func() bool {
		info, ok := attachment(t, b, bare.ID)
		return ok && info.State == inbox.HeldHere && info.Thumb && info.Media == "image/jpeg"
	})
	_, r, err := b.OpenAttachment(t.Context(), bare.ID)
	check(t, err)
	got, err := io.ReadAll(r)
	check(t, err)
	if bytes.Contains(got, []byte("GPS")) {
		t.Error("the place came with it")
	}
	thumb, err := b.AttachmentThumb(t.Context(), bare.ID)
	check(t, err)
	if c, err := jpeg.DecodeConfig(bytes.NewReader(thumb)); err != nil || c.Width != 320 || c.Height != 160 {
		t.Errorf("a thumbnail of %d by %d, %v", c.Width, c.Height, err)
	}
	exact, err := a.Attach(t.Context(), g, AttachSpec{Name: "as it is.jpg", Priority: "routine", Exact: true, Shows: "no-patient"}, bytes.NewReader(photo))
	check(t, err)
	arrives(t, b, exact.ID, photo)
}

// TestAttachmentOnRequest: where files are not fetched by themselves, or the link is thin, the message and its thumbnail come, and the file
// when somebody asks for it.
func TestAttachmentOnRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	b := w.enrol("Ben Carter", orgAmbulance).start(t, knows(a), func(cfg *Config) { cfg.Attachments.Auto = -1 })
	c := w.enrol("Carla Diaz", orgAmbulance).start(t, knows(a))
	ready(t, 2, a, b, c)
	g := makeGroup(t, a, b, c)
	inGroup(t, g, a, b, c)
	s := attach(t, a, g, "large.png", pngOf(t, quarters(700, 700)))
	{
		n := b
		eventually(t, "the thumbnail is here", func() bool { info, ok := attachment(t, n, s.ID); return ok && info.Thumb })
		if info, _ := attachment(t, n, s.ID); info.State != inbox.HeldListed || info.Have != 1 {
			t.Errorf("%+v", info)
		}
		if _, _, err := n.OpenAttachment(t.Context(), s.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("opened before it is here: %v", err)
		}
		_, err := n.FetchAttachment(t.Context(), s.ID)
		check(t, err)
		eventually(t, "it is here", func() bool { info, _ := attachment(t, n, s.ID); return info.State == inbox.HeldHere })
	}
	eventually(t, "the other fetched it by itself", func() bool {
		info, ok := attachment(t, c, s.ID)
		return ok && info.State == inbox.HeldHere
	})
	check(t, c.SetThrift(ThriftOn))
	thin := attach(t, a, g, "more.bin", fileOf(70_000))
	eventually(t, "it is listed", func() bool { info, ok := attachment(t, c, thin.ID); return ok && info.State == inbox.HeldListed })
	check(t, c.SetThrift(ThriftOff))
	eventually(t, "it comes on a better link", func() bool { info, _ := attachment(t, c, thin.ID); return info.State == inbox.HeldHere })
}

// TestAttachmentIsCarried: between two that share no link a third, which cannot read it, carries the file, within its quota; it does so
// while it is locked, and so is what it keeps for itself not dropped.
func TestAttachmentIsCarried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t, hidden)
	c := w.enrol("Carla Diaz", orgHospital).start(t, hidden)
	r := w.enrol("Ravi Patel", orgAmbulance).start(t, hidden, knows(a, c), func(cfg *Config) { cfg.Attachments.Carry = 150_000 })
	ready(t, 2, a, c, r)
	check(t, r.Lock())
	g := makeGroup(t, a, c)
	inGroup(t, g, a, c)
	data := fileOf(400_000)
	s := attach(t, a, g, "plan.pdf", data)
	arrives(t, c, s.ID, data)
	if len(a.Peers()) != 1 || len(c.Peers()) != 1 {
		t.Fatalf("%d and %d neighbours", len(a.Peers()), len(c.Peers()))
	}
	u := r.attached.store.Usage()
	if u.Kept != 0 || u.CarriedBytes > 150_000 || u.Evicted == 0 {
		t.Errorf("the third has %+v", u)
	}
	eventually(t, "nothing is left to be fetched for others", func() bool {
		r.attached.mu.Lock()
		defer r.attached.mu.Unlock()
		return len(r.attached.carrying) == 0 && len(r.attached.asked) == 0
	})
}

// TestCarryingIsBounded: nobody can have a device fetch without end for it.
func TestCarryingIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.enrol("Ravi Patel", orgAmbulance).start(t)
	names := func(by byte) (out []blob.Name) {
		for i := range maxCarryingFor + 10 {
			out = append(out, blob.Name{by, byte(i), byte(i >> 8)})
		}
		return out
	}
	for i, p := range []peer.ID{"one", "two", "three"} {
		n.attached.HaveBlobs(p, names(byte(i)), 3)
		n.attached.HaveBlobs(p, names(byte(i)), 3) // once more changes nothing
	}
	if len(n.attached.carrying) != maxCarrying || n.attached.asked["one"] != maxCarryingFor || n.attached.asked["three"] != 0 {
		t.Errorf("%d in all, %v", len(n.attached.carrying), n.attached.asked)
	}
	n.attached.HaveBlobs("four", []blob.Name{{77}}, 0)
	if n.attached.carrying[blob.Name{77}] != nil {
		t.Error("fetched for somebody who did not ask for that")
	}
	n.attached.tidy()
	n.attached.tidy()
	if len(n.attached.carrying) != 0 || len(n.attached.asked) != 0 {
		t.Errorf("%d are left after an hour, %v", len(n.attached.carrying), n.attached.asked)
	}
}

// TestAttachmentDamagedOnDisk: a chunk that the disk has changed is noticed and fetched again.
func TestAttachmentDamagedOnDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t)
	mb := w.enrol("Ben Carter", orgAmbulance)
	b := mb.start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	data := fileOf(200_000)
	s := attach(t, a, g, "plan.pdf", data)
	arrives(t, b, s.ID, data)
	spoilt := 0
	check(t, filepath.WalkDir(filepath.Join(mb.dir, "blobs", "kept"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || spoilt > 0 {
			return err
		}
		spoilt++
		return os.WriteFile(path, []byte("spoilt"), 0o600)
	}))
	_, r, err := b.OpenAttachment(t.Context(), s.ID)
	check(t, err)
	if _, err := io.ReadAll(r); !errors.Is(err, ErrNotFound) {
		t.Errorf("read past a spoilt chunk: %v", err)
	}
	arrives(t, b, s.ID, data)
}
