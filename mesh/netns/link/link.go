package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxPacket is the longest packet read from a device, in bytes: IP allows no
// longer one.
const maxPacket = 64 << 10

// maxWaiting bounds the packets on their way in one direction. 4,096 of 1,500
// bytes are 6 MiB; a link of 10 Mb/s and a second of delay holds 830.
const maxWaiting = 4096

// Clock measures elapsed time; its zero is any fixed point.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Device is one end: each Read returns one packet and each Write takes one.
// Close lets a Read return.
type Device interface {
	io.ReadWriteCloser
}

// Counts are the packets of one direction, since the start.
type Counts struct{ Delivered, Lost, Overflown, Bytes uint64 }

// Link carries packets between two devices.
type Link struct {
	clock Clock
	a, b  Device
	ab    direction
	ba    direction
}

// direction is one half of a link.
type direction struct {
	mu     sync.Mutex
	shaper *Shaper // guarded by mu

	waiting chan waiting

	delivered, lost, overflown, bytes atomic.Uint64
}

// waiting is a packet on its way.
type waiting struct {
	leave  time.Time
	packet []byte
}

// New returns a link that carries nothing until it runs. It owns the devices
// from then on, also where it fails.
func New(clock Clock, a, b Device, ab, ba Shape) (*Link, error) {
	l := &Link{clock: clock, a: a, b: b}
	l.ab.waiting, l.ba.waiting = make(chan waiting, maxWaiting), make(chan waiting, maxWaiting)
	if err := l.Reshape(ab, ba); err != nil {
		return nil, errors.Join(err, a.Close(), b.Close())
	}
	return l, nil
}

// Reshape changes what happens to packets that come from now on.
func (l *Link) Reshape(ab, ba Shape) error {
	forth, err := NewShaper(ab)
	if err != nil {
		return err
	}
	back, err := NewShaper(ba)
	if err != nil {
		return err
	}
	l.ab.set(forth)
	l.ba.set(back)
	return nil
}

func (d *direction) set(s *Shaper) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shaper = s
}

// Counts returns what became of the packets from a to b and from b to a.
func (l *Link) Counts() (ab, ba Counts) { return l.ab.counts(), l.ba.counts() }

func (d *direction) counts() Counts {
	return Counts{Delivered: d.delivered.Load(), Lost: d.lost.Load(), Overflown: d.overflown.Load(), Bytes: d.bytes.Load()}
}

// Run carries packets until ctx ends, which is no error, or a device fails.
// Before it returns it closes both devices.
func (l *Link) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i, part := range []func() error{
		func() error { return l.take(ctx, &l.ab, l.a) },
		func() error { return l.take(ctx, &l.ba, l.b) },
		func() error { return l.give(ctx, &l.ab, l.b) },
		func() error { return l.give(ctx, &l.ba, l.a) },
	} {
		wg.Go(func() {
			errs[i] = part()
			cancel() // half a link is none
		})
	}
	<-ctx.Done()
	closed := errors.Join(l.a.Close(), l.b.Close())
	wg.Wait()
	return errors.Join(errors.Join(errs...), closed)
}

// take reads packets from a device and decides over each.
func (l *Link) take(ctx context.Context, d *direction, from Device) error {
	start := l.clock.Now()
	buf := make([]byte, maxPacket)
	for {
		n, err := from.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("link: reading a packet: %w", err)
		}
		d.mu.Lock()
		leave, fate := d.shaper.Offer(l.clock.Now().Sub(start), n, rand.Float64())
		d.mu.Unlock()
		switch fate {
		case Lost:
			d.lost.Add(1)
			continue
		case Overflown:
			d.overflown.Add(1)
			continue
		case Delivered:
		}
		select {
		case d.waiting <- waiting{start.Add(leave), append([]byte(nil), buf[:n]...)}:
		default:
			d.overflown.Add(1)
		}
	}
}

// give writes packets to a device when their time has come.
func (l *Link) give(ctx context.Context, d *direction, to Device) error {
	for {
		var w waiting
		select {
		case <-ctx.Done():
			return nil
		case w = <-d.waiting:
		}
		if wait := w.leave.Sub(l.clock.Now()); wait > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-l.clock.After(wait):
			}
		}
		if _, err := to.Write(w.packet); err != nil && !down(err) {
			if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("link: writing a packet: %w", err)
		}
		d.delivered.Add(1)
		d.bytes.Add(uint64(len(w.packet)))
	}
}
