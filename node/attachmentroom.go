package node

import (
	"errors"

	"tocsin/ledger/blob"
)

// Room for attachments: what is begun is to be finished. An attachment is fetched by itself
// only where there is room for it and for all that is being fetched already, so that many at once do not fill the quota with
// parts of each.

// uploadShare is the part of the quota that is left to files that this device sends, and to what somebody asks
// for: one eighth.
const uploadShare = 8

// need is how many bytes the missing chunks take at most: all of them full, or the whole file, of which
// padding makes an eighth more and each chunk at least 272 bytes.
func (it *attached) need() int64 {
	whole := it.size + it.size/8 + 272*int64(len(it.names))
	if it.lacksThumb() {
		whole += blob.MaxChunk
	}
	return min(int64(len(it.missing))*blob.MaxChunk, whole)
}

// roomFor reports whether there is room for an attachment beside all that is promised. mu is held.
func (a *attachments) roomFor(it *attached) bool {
	spare := a.store.Usage().KeepQuota / uploadShare
	if it.asked {
		spare = 0
	}
	return a.store.Room(a.promised-it.room+it.need(), spare)
}

// promise brings the room of an attachment that is being fetched up to date. mu is held.
func (a *attachments) promise(it *attached) {
	a.promised -= it.room
	it.room = 0
	if it.wanted {
		it.room = it.need()
	}
	a.promised += it.room
}

// keepCarried has those missing chunks kept that are here for others. Those that could not
// be stay missing: the next that is carried may push them out. mu is held.
func (a *attachments) keepCarried(it *attached) {
	var errs []error
	for _, name := range it.names {
		if _, missing := it.missing[name]; !missing {
			continue
		}
		if err := a.store.Keep(name); err != nil {
			if errs = append(errs, err); errors.Is(err, blob.ErrFull) {
				break
			}
		} else if a.store.Has(name) {
			delete(it.missing, name)
		}
	}
	a.promise(it)
	if err := errors.Join(errs...); err != nil {
		a.node.log.Warn("chunks of an attachment that are here, carried for others, could not be kept; they count as missing", "err", err)
	}
}

// makeWay ends the fetching of an attachment for which there is no room. What is here of it
// goes, but for the thumbnail and what other messages name, so that others become whole and this device can
// send; of one that somebody asked for it stays. mu is held.
func (a *attachments) makeWay(it *attached) error {
	if it.asked {
		return nil
	}
	var gone []blob.Name
	for i, name := range it.names {
		if _, missing := it.missing[name]; missing || a.named[name] > 1 || it.thumb && i == 0 {
			continue
		}
		gone = append(gone, name)
		it.missing[name] = struct{}{}
	}
	return a.store.Remove(gone...)
}
