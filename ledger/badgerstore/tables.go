package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/dgraph-io/ristretto/v2/z"

	"tocsin/ledger"
)

// Badger opens its tables in goroutines of its own and panics there if one is
// damaged at its end, which would end the program without a word. So they are
// opened here first, one after the other, where a panic can be caught. It reads
// of each table what Badger reads: its index and its last block.

// indexAdvice is what to do about a damaged index.
const indexAdvice = "move the directory " + indexName + " away; it is then rebuilt from own.wal and from other devices"

// tableSet is the tables of an index that is not open, or is and stays so.
type tableSet struct {
	dir    string
	tables map[uint64]badger.TableManifest
	keys   *badger.KeyRegistry
	cache  *ristretto.Cache[uint64, *fb.TableIndex]
}

// readTables returns the tables of an index, nil if there are none or if
// Badger's own reading of its lists will say what is wrong with them.
func readTables(dir string, opt *Options) *tableSet {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return nil
	}
	manifest, _, err := badger.ReplayManifestFile(f, 0, badgerOptions(dir, opt))
	if err = errors.Join(err, f.Close()); err != nil || len(manifest.Tables) == 0 {
		return nil
	}
	keys, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: opt.Key[:]})
	if err != nil {
		return nil
	}
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *fb.TableIndex]{NumCounters: 1000, MaxCost: 8 << 20, BufferItems: 64})
	if err != nil {
		return nil
	}
	return &tableSet{dir: dir, tables: manifest.Tables, keys: keys, cache: cache}
}

// checkTables opens each table once. An error matches ledger.ErrDamaged.
func checkTables(dir string, opt *Options) error {
	set := readTables(dir, opt)
	if set == nil {
		return nil
	}
	defer set.cache.Close()
	ids := make([]uint64, 0, len(set.tables))
	for id := range set.tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := set.check(id); err != nil {
			return fmt.Errorf("%w: table %d of the index: %w: %s", ledger.ErrDamaged, id, err, indexAdvice)
		}
	}
	return nil
}

// check opens and closes one table.
func (s *tableSet) check(id uint64) (err error) {
	defer caught(&err)
	m := s.tables[id]
	key, err := s.keys.DataKey(m.KeyID)
	if err != nil {
		return err
	}
	f, err := z.OpenMmapFile(table.NewFilename(id, s.dir), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	_, err = table.OpenTable(f, table.Options{
		ReadOnly: true, ChkMode: options.OnBlockRead, Compression: m.Compression, DataKey: key, IndexCache: s.cache,
	})
	if err != nil {
		return err // it is closed in some cases, in others at the end of the program
	}
	return f.Close(-1)
}

// caught turns a panic of Badger's into an error: it trusts what it reads.
func caught(err *error) {
	if recover() != nil { // what it says is a dump of the file
		*err = errors.New("what it says of its parts is contradictory")
	}
}
