package link

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// memory is a device whose other side is two channels. A nil packet fails the
// reader.
type memory struct {
	in, out chan []byte
	closed  chan struct{}
}

func newMemory() *memory {
	return &memory{in: make(chan []byte, 64), out: make(chan []byte, 64), closed: make(chan struct{})}
}

var errBroken = errors.New("broken")

func (m *memory) Read(p []byte) (int, error) {
	select {
	case packet := <-m.in:
		if packet == nil {
			return 0, errBroken
		}
		return copy(p, packet), nil
	case <-m.closed:
		return 0, io.EOF
	}
}

func (m *memory) Write(p []byte) (int, error) {
	m.out <- append([]byte(nil), p...)
	return len(p), nil
}

func (m *memory) Close() error { close(m.closed); return nil }

func run(t *testing.T, ab, ba Shape) (l *Link, a, b *memory, end func() error) {
	t.Helper()
	a, b = newMemory(), newMemory()
	l, err := New(systemClock{}, a, b, ab, ba)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	return l, a, b, func() error { cancel(); return <-ended }
}

// TestCarries: packets keep their order, their bytes and their direction, arrive
// no sooner than the link allows, and a link that was cut carries nothing.
func TestCarries(t *testing.T) {
	const delay = 30 * time.Millisecond
	l, a, b, end := run(t, Shape{Delay: delay}, Shape{})
	began := time.Now()
	words := strings.Fields("ten words in the order in which they were said")
	for _, w := range words {
		a.in <- []byte(w)
	}
	for _, w := range words {
		if got := string(<-b.out); got != w {
			t.Fatalf("%q came, and not %q", got, w)
		}
	}
	if took := time.Since(began); took < delay {
		t.Fatalf("the packets came after %v", took)
	}
	b.in <- []byte("back")
	if got := string(<-a.out); got != "back" {
		t.Fatalf("%q came back", got)
	}
	if err := l.Reshape(Shape{Loss: 1}, Shape{}); err != nil {
		t.Fatal(err)
	}
	a.in <- []byte("lost")
	b.in <- []byte("behind it")
	<-a.out
	if err := l.Reshape(Shape{Loss: 2}, Shape{}); err == nil {
		t.Fatal("a loss of 2 was taken")
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	forth, back := l.Counts()
	if forth.Delivered != uint64(len(words)) || back.Delivered != 2 || back.Bytes != uint64(len("backbehind it")) || len(b.out) > 0 {
		t.Fatalf("counted %+v and %+v", forth, back)
	}
}

// TestDeviceFails: a link whose device fails says so and ends whole.
func TestDeviceFails(t *testing.T) {
	_, a, b, end := run(t, Shape{}, Shape{})
	a.in <- nil
	<-b.closed
	<-a.closed
	if err := end(); !errors.Is(err, errBroken) {
		t.Fatalf("it ended with %v", err)
	}
	if _, err := New(systemClock{}, newMemory(), newMemory(), Shape{Rate: -1}, Shape{}); err == nil {
		t.Fatal("a shape that makes no sense was taken")
	}
}
