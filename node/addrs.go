package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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

func (n *Node) rememberAddrs(infos []mesh.Remembered) {
	raw, err := json.Marshal(infos)
	if err == nil {
		err = writeFile(filepath.Join(n.cfg.Dir, addrsFile), raw)
	}
	if err != nil {
		n.log.Warn("the addresses of neighbours could not be kept", "err", err)
	}
}
