//go:build unix && !linux

package mesh

import (
	"testing"
	"time"
)

// besiege pins processes to cores, which is done for Linux only.
func besiege(t *testing.T, _ time.Duration) {
	t.Fatal("TOCSIN_ADVERSARY is for Linux: the test pins processes to cores")
}
