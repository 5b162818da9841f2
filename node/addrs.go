package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tocsin/mesh"
)

// addrsFile keeps the addresses at which neighbours were last met, so that a
// device finds the mesh again where nothing announces it.
const (
	addrsFile     = "peers.json"
	maxAddrsBytes = 1 << 20
)

// rememberedAddrs reads them. A file that cannot be read costs nothing but the
// shortcut, so it is reported and not fatal.
func (n *Node) rememberedAddrs() []mesh.Remembered {
	infos, err := readAddrs(filepath.Join(n.cfg.Dir, addrsFile))
	if err != nil {
		n.log.Warn("the remembered addresses cannot be used; neighbours will be found anew", "err", err)
	}
	return infos
}

func readAddrs(path string) ([]mesh.Remembered, error) {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if st.Size() > maxAddrsBytes {
		return nil, fmt.Errorf("node: %s has more than %d bytes", addrsFile, maxAddrsBytes)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var infos []mesh.Remembered
	return infos, json.Unmarshal(raw, &infos)
}

// addrsPause is the rest after each writing of them, and twice as long each time that they
// have changed again meanwhile, up to addrsPauseMost: while a mesh comes together they
// change with every neighbour, and each time would cost the disk a sync.
const (
	addrsPause     = 5 * time.Second
	addrsPauseMost = 2 * time.Minute
)

// metAddrs are addresses on their way to the disk.
type metAddrs struct {
	wake chan struct{} // one pending wake-up of addrsLoop

	mu     sync.Mutex
	latest []mesh.Remembered // guarded by mu
	due    bool              // guarded by mu: latest is not on disk
}

// rememberAddrs has addresses written, in the place of those before; it never blocks.
func (n *Node) rememberAddrs(infos []mesh.Remembered) {
	n.addrs.mu.Lock()
	n.addrs.latest, n.addrs.due = infos, true
	n.addrs.mu.Unlock()
	ring(n.addrs.wake)
}

// addrsLoop is the one goroutine that writes them: the first at once, and what was
// met last before the node closes too.
func (n *Node) addrsLoop() {
	defer n.wg.Done()
	defer n.writeAddrs()
	pause := addrsPause
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.addrs.wake:
		}
		n.writeAddrs()
		if !n.wait(pause) {
			return
		}
		pause = restAfter(pause, len(n.addrs.wake) > 0)
	}
}

// restAfter is how long the next rest is, by the last one and whether they have changed in it.
func restAfter(last time.Duration, changed bool) time.Duration {
	if !changed {
		return addrsPause
	}
	return min(2*last, addrsPauseMost)
}

func (n *Node) writeAddrs() {
	n.addrs.mu.Lock()
	infos, due := n.addrs.latest, n.addrs.due
	n.addrs.latest, n.addrs.due = nil, false
	n.addrs.mu.Unlock()
	if !due {
		return
	}
	raw, err := json.Marshal(infos)
	if err == nil {
		err = writeFile(filepath.Join(n.cfg.Dir, addrsFile), raw)
	}
	if err != nil {
		n.log.Warn("the addresses of neighbours could not be kept", "err", err)
	}
}
