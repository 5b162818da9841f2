package vault

import (
	"fmt"
	"os"
	"runtime"
)

// page is memory for secrets, outside of the collector's heap: the system is
// asked not to swap it out and not to dump it. Where it refuses, the page is
// memory like any other; [Harden] says so.
type page struct {
	b       []byte
	cleanup runtime.Cleanup
}

func newPage() (*page, error) {
	b, err := mapPage(os.Getpagesize())
	if err != nil {
		return nil, fmt.Errorf("vault: no memory for keys: %w", err)
	}
	p := &page{b: b}
	// For those who drop a vault without closing it.
	p.cleanup = runtime.AddCleanup(p, wipePage, b)
	return p, nil
}

// destroy overwrites the page and gives it back. It can be called twice.
func (p *page) destroy() {
	if p == nil || p.b == nil {
		return
	}
	p.cleanup.Stop()
	b := p.b
	p.b = nil
	wipePage(b)
}

func wipePage(b []byte) {
	clear(b)
	runtime.KeepAlive(b)
	unmapPage(b)
}
