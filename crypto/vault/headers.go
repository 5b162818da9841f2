package vault

import (
	"errors"
	"fmt"
	"io"
)

// headers are the two copies of the header in their file. They are alike but
// for a moment: a change of passphrase or costs overwrites one, syncs, then
// overwrites the other, in place, so that no old copy is left in free blocks of
// the disk and a crash at any point leaves one that opens. After such a crash,
// or a disk error, two candidates are there. The change was not acknowledged
// then and the person may know either passphrase, so both are tried, and the
// one that opens overwrites the other.
type headers struct {
	current *header
	place   int     // where current stands: 0 or 1
	other   *header // the second candidate, or nil
	alike   bool    // both places were read to hold current
	settled bool    // and are known to do so on stable storage
}

func readHeaders(d disk) (headers, error) {
	f, err := d.open(headerName)
	if err != nil {
		return headers{}, fmt.Errorf("vault: cannot open: %w", err)
	}
	b := make([]byte, headerFileSize+1) // one more, to see that there is no more
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return headers{}, errors.Join(fmt.Errorf("vault: cannot read the header: %w", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return headers{}, fmt.Errorf("vault: cannot read the header: %w", err)
	}
	return parseHeaders(b[:n])
}

func parseHeaders(b []byte) (headers, error) {
	if len(b) > headerFileSize {
		return headers{}, errHeader
	}
	part := func(from int) []byte { return b[min(from, len(b)):min(from+headerSize, len(b))] }
	first, err := parseHeader(part(0))
	second, secondErr := parseHeader(part(headerSpacing))
	switch {
	case first == nil && second == nil:
		return headers{}, err
	case secondErr != nil:
		return headers{current: first}, nil
	case err != nil:
		return headers{current: second, place: 1}, nil
	case first.id != second.id:
		return headers{}, errHeader
	case *first == *second:
		return headers{current: first, alike: true}, nil
	case second.generation > first.generation:
		return headers{current: second, place: 1, other: first}, nil
	default:
		return headers{current: first, other: second}, nil
	}
}

// marshalFile returns the file of a new vault.
func (h *header) marshalFile() []byte {
	b := make([]byte, headerFileSize)
	copy(b, h.marshal())
	copy(b[headerSpacing:], h.marshal())
	return b
}

// writeHeader overwrites one place in the header's file and syncs it.
func writeHeader(d disk, place int, h *header) error {
	f, err := d.open(headerName)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(h.marshal(), int64(place)*headerSpacing)
	if err == nil {
		err = f.sync()
	}
	return errors.Join(err, f.Close())
}

func syncFile(d disk, name string) error {
	f, err := d.open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.sync(), f.Close())
}

// open returns the master key if the passphrase opens a header, and makes that
// one the only one. The caller clears the key.
func (hs *headers) open(d disk, passphrase []byte) ([]byte, error) {
	if len(passphrase) > MaxPassphrase {
		return nil, ErrPassphrase
	}
	master, err := hs.current.openMaster(passphrase)
	if errors.Is(err, ErrPassphrase) && hs.other != nil {
		if master, err = hs.other.openMaster(passphrase); err == nil {
			hs.current, hs.other, hs.place = hs.other, hs.current, 1-hs.place
		}
	}
	if err != nil {
		return nil, err
	}
	if err := hs.settle(d); err != nil {
		clear(master)
		return nil, err
	}
	return master, nil
}

// settle makes the current header the only one. Where another candidate is
// there, it is not known that the disk holds the current one where it was read
// or was to be written, so that is written first; the other place is overwritten
// only when it does.
func (hs *headers) settle(d disk) error {
	if hs.settled {
		return nil
	}
	if hs.alike {
		// A program that was killed may have written without syncing.
		if err := syncFile(d, headerName); err != nil {
			return fmt.Errorf("vault: cannot sync the header: %w", err)
		}
		hs.settled = true
		return nil
	}
	places := []int{hs.place, 1 - hs.place}
	if hs.other == nil {
		places = places[1:]
	}
	for _, place := range places {
		if err := writeHeader(d, place, hs.current); err != nil {
			return fmt.Errorf("vault: cannot write the header: %w", err)
		}
	}
	hs.other, hs.settled = nil, true
	return nil
}

// replace makes h the only header, after open or create has settled the one
// before. After an error both are candidates.
func (hs *headers) replace(d disk, h *header) error {
	*hs = headers{current: h, other: hs.current, place: 1 - hs.place}
	return hs.settle(d)
}
