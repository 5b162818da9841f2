package node

// Paper: short urgent messages as a sheet of codes that is printed and carried by
// hand, for when not even a stick can be had (ledger/bundle/FORMAT.md). What a
// sheet brings passes the same functions as what a neighbour or a bundle brings.
//
//	ExportPaper   messages → the entries they need → one sheet of codes
//	ImportPaper   codes → whole sheets → the importer of bundles

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/bundle"
	"tocsin/node/inbox"
)

// PaperSpec says what a sheet is to carry.
type PaperSpec struct {
	// Messages are ids. Empty means the urgent and stat messages of the last Hours
	// that this device holds, also of others.
	Messages []string `json:"messages,omitempty"`
	// Hours is how long ago the readers were last in reach: they are taken to hold
	// everything of before. 0 means [defaultPaperHours].
	Hours int `json:"hours,omitempty"`
	// To names readers as in [BundleSpec], whose last bundle says what they hold.
	To []string `json:"to,omitempty"`
	// Codes is how many codes the sheet may have; 0 means [defaultPaperCodes].
	Codes int `json:"codes,omitempty"`
}

// PaperInfo is a sheet.
type PaperInfo struct {
	Codes    []string `json:"codes"`    // what each code holds
	Messages uint64   `json:"messages"` // that it carries
	Entries  uint64   `json:"entries"`  // of them and of what links them to what the readers hold
	Left     uint64   `json:"left"`     // messages for which there was no room
}

const (
	defaultPaperHours = 24
	maxPaperHours     = 28 * 24
	defaultPaperCodes = 48 // two printed pages
	// maxPaperRun bounds how far behind a message the entries go that link it to
	// what the readers hold.
	maxPaperRun = 1000
)

// paperLog is what a sheet may carry of one log.
type paperLog struct {
	from    uint64
	entries []*ledger.Entry // from from on
	upto    int             // how many of them the sheet carries so far
	chosen  map[int]bool    // those with their body
}

// paperPick is a message that may go on a sheet.
type paperPick struct {
	log  identity.LogID
	at   int // in entries of the log
	rank uint8
	hlc  uint64
}

// ExportPaper makes a sheet. It needs the mesh key, so that it does not work on a
// locked device or a relay. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) ExportPaper(ctx context.Context, spec PaperSpec) (PaperInfo, error) {
	spec, err := spec.complete()
	if err != nil {
		return PaperInfo{}, err
	}
	number, key, err := n.paperKey()
	if err != nil {
		return PaperInfo{}, err
	}
	logs, picks, err := n.paperPicks(ctx, spec)
	if err != nil {
		return PaperInfo{}, err
	}
	info := PaperInfo{}
	size := 0
	for _, p := range picks {
		more := logs[p.log].cost(p.at)
		if bundle.PaperCount(size+more) > spec.Codes {
			info.Left++
			continue
		}
		size += more
		logs[p.log].choose(p.at)
		info.Messages++
	}
	if info.Messages == 0 {
		return PaperInfo{}, invalid("nothing fits on a sheet of %d codes: of %d messages the smallest needs more; allow more codes, name fewer hours, name readers of whom a bundle came before, or use a stick", spec.Codes, len(picks))
	}
	runs := paperRuns(logs)
	for _, r := range runs {
		info.Entries += uint64(len(r))
	}
	content, err := bundle.SealPaper(n.rand, n.trust.MeshID(), number, key, runs)
	if err != nil {
		return PaperInfo{}, fmt.Errorf("node: a sheet: %w", err)
	}
	info.Codes, err = bundle.PaperCodes(content)
	return info, err
}

func (s PaperSpec) complete() (PaperSpec, error) {
	s.Hours, s.Codes = cmp.Or(s.Hours, defaultPaperHours), cmp.Or(s.Codes, defaultPaperCodes)
	if s.Hours < 1 || s.Hours > maxPaperHours {
		return s, invalid("readers were last in reach 1 to %d hours ago", maxPaperHours)
	}
	if s.Codes < 1 || s.Codes > bundle.MaxPaperCodes {
		return s, invalid("a sheet has 1 to %d codes", bundle.MaxPaperCodes)
	}
	return s, nil
}

// paperKey is the mesh key that a sheet is sealed under.
func (n *Node) paperKey() (uint32, [32]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return 0, [32]byte{}, ErrLocked
	}
	number, key, err := n.newestMeshKey()
	if err == nil && key == ([32]byte{}) {
		err = invalid("this device was given no broadcast key, under which sheets are sealed: use a stick")
	}
	return number, key, err
}

// paperPicks finds the messages that are asked for, most urgent and newest first.
func (n *Node) paperPicks(ctx context.Context, spec PaperSpec) (map[identity.LogID]*paperLog, []paperPick, error) {
	var theirs ledger.Frontier
	if len(spec.To) > 0 {
		readers, err := n.bundleReaders(spec.To)
		if err == nil {
			theirs, err = n.knownFrontier(readers)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	wanted, err := n.paperWanted(spec.Messages)
	if err != nil {
		return nil, nil, err
	}
	held := make(map[identity.LogID]uint64, len(theirs))
	for _, h := range theirs {
		held[h.Log] = h.Next
	}
	since := uint64(n.cfg.Clock.Now().Add(-time.Duration(spec.Hours)*time.Hour).UnixMilli()) << 16
	logs := make(map[identity.LogID]*paperLog)
	var picks []paperPick
	for _, h := range n.logs.Frontier() {
		p, err := n.paperLog(ctx, h, held[h.Log], since)
		if err != nil {
			return nil, nil, err
		}
		logs[h.Log] = p
		for i, e := range p.entries {
			named := wanted[e.ID()]
			delete(wanted, e.ID())
			message := e.Header.Kind == ledger.KindData || e.Header.Kind == ledger.KindBroadcast
			urgent := len(spec.Messages) == 0 && e.Header.Priority > ledger.Routine
			if e.Body != nil && message && (named || urgent && !n.saysReceipts(h.Log, e.Header.Seq)) {
				picks = append(picks, paperPick{h.Log, i, uint8(ledger.Stat - e.Header.Priority), e.Header.HLC})
			}
		}
	}
	if len(wanted) > 0 {
		return nil, nil, invalid("%d of the messages are older than %d hours: say with a larger number when the readers were last in reach", len(wanted), spec.Hours)
	}
	if len(picks) == 0 {
		return nil, nil, fmt.Errorf("%w: no urgent message of the last %d hours is here: name messages by their ids, or more hours", ErrNotFound, spec.Hours)
	}
	slices.SortFunc(picks, func(a, b paperPick) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.hlc, a.hlc), a.log.Compare(b.log), cmp.Compare(a.at, b.at))
	})
	return logs, picks, nil
}

// saysReceipts reports whether an entry is known to hold receipts alone: those of
// something stat are urgent, and not worth codes that somebody scans by hand.
func (n *Node) saysReceipts(log identity.LogID, seq uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return false
	}
	raw, ok, err := n.cfg.Vault.Get(messageKey(log, seq))
	if err != nil || !ok {
		return false
	}
	rec, err := parseOpenedRecord(raw)
	return err == nil && rec.ofReceipts()
}

// paperWanted reads ids of messages, which must be here.
func (n *Node) paperWanted(ids []string) (map[ledger.ID]bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, ErrLocked
	}
	wanted := make(map[ledger.ID]bool, len(ids))
	for _, id := range ids {
		raw, err := hex.DecodeString(id)
		if err != nil || len(raw) != len(ledger.ID{}) {
			return nil, invalid("a message's id is 64 hexadecimal characters, as 'tocsin watch' and the proofs show it")
		}
		it, ok := n.open.inbox.Message(inbox.EntryID(raw))
		if !ok {
			return nil, fmt.Errorf("%w: no message %s is here", ErrNotFound, id)
		}
		wanted[ledger.ID(raw)] = true
		log, err := identity.ParseLogID(it.From.Log)
		if err != nil {
			return nil, fmt.Errorf("node: the log of message %s: %w", id, err)
		}
		entries, err := n.entriesOf(n.ctx, log, it.Seq)
		if err != nil {
			return nil, err
		}
		for _, e := range entries { // in a large group, one for each part of it
			wanted[e.ID()] = true
		}
	}
	return wanted, nil
}

// paperLog reads the end of a log: what is newer than the readers' last contact
// and than what they are known to hold.
func (n *Node) paperLog(ctx context.Context, h ledger.Head, held, since uint64) (*paperLog, error) {
	p := &paperLog{from: h.Next, chosen: make(map[int]bool)}
	var newest []*ledger.Entry
	for seq := h.Next; seq > held && len(newest) < maxPaperRun; seq-- {
		e, err := n.logs.Entry(ctx, h.Log, seq-1)
		if errors.Is(err, ledger.ErrDamaged) || errors.Is(err, ledger.ErrNotFound) {
			break // what comes before it cannot be linked
		}
		if err != nil {
			return nil, storeError(err)
		}
		if e.Header.HLC < since {
			break
		}
		newest = append(newest, e)
	}
	slices.Reverse(newest)
	p.entries, p.from = newest, h.Next-uint64(len(newest))
	return p, nil
}

// bare is an entry without its body.
func bare(e *ledger.Entry) *ledger.Entry {
	h := *e
	h.Body = nil
	return &h
}

// run is what the sheet carries of the log if the first n entries are on it.
func (p *paperLog) run(n int) bundle.PaperRun {
	var r bundle.PaperRun
	for i, e := range p.entries[:n] {
		if !p.chosen[i] && e.Header.Seq > 0 { // the first entry says whose log it is
			e = bare(e)
		}
		r = append(r, e)
	}
	return r
}

// cost is what choosing an entry adds to the content of the sheet.
func (p *paperLog) cost(at int) int {
	before := 0
	if p.upto > 0 {
		before = p.run(p.upto).PaperSize()
	}
	was := p.chosen[at]
	p.chosen[at] = true
	after := p.run(max(p.upto, at+1)).PaperSize()
	p.chosen[at] = was
	return after - before
}

func (p *paperLog) choose(at int) {
	p.chosen[at], p.upto = true, max(p.upto, at+1)
}

// paperRuns is what the sheet carries, in the order of logs.
func paperRuns(logs map[identity.LogID]*paperLog) (runs []bundle.PaperRun) {
	for _, p := range logs {
		if p.upto > 0 {
			runs = append(runs, p.run(p.upto))
		}
	}
	slices.SortFunc(runs, func(a, b bundle.PaperRun) int { return a[0].Header.Log().Compare(b[0].Header.Log()) })
	return runs
}

// PaperReport says what codes brought.
type PaperReport struct {
	Sheets []PaperSheet `json:"sheets"`
	Wrong  []WrongCode  `json:"wrong"` // codes that are damaged or mistyped
	// What the whole sheets brought, as of a bundle.
	New     uint64 `json:"new"`
	Filled  uint64 `json:"filled"`
	Known   uint64 `json:"known"`
	Waiting uint64 `json:"waiting"`
	Refused uint64 `json:"refused"`
	Words   string `json:"words"`
}

// WrongCode is a code that was not taken.
type WrongCode struct {
	Number int    `json:"number"` // its place among those given, from 1
	Begins string `json:"begins"` // its first characters
	Words  string `json:"words"`
}

// PaperSheet is how far a sheet has come.
type PaperSheet struct {
	ID      string `json:"id"`
	Count   int    `json:"count"`   // codes that it has
	Missing []int  `json:"missing"` // numbers of those that were not given, from 1
	Taken   bool   `json:"taken"`
	Words   string `json:"words"`
}

// MaxPaperInput bounds the codes of one [Node.ImportPaper].
const MaxPaperInput = 16 * bundle.MaxPaperCodes

// ImportPaper takes what codes bring, read from pictures or typed, of one sheet
// or several, in any order. Sheets of which codes are missing are named and not
// taken; all others are. It is idempotent. Errors: [ErrLocked], [ErrInvalid],
// [ErrReadOnly].
func (n *Node) ImportPaper(ctx context.Context, codes []string) (PaperReport, error) {
	rep := PaperReport{Sheets: []PaperSheet{}, Wrong: []WrongCode{}}
	if len(codes) == 0 || len(codes) > MaxPaperInput {
		return rep, invalid("give 1 to %d codes", MaxPaperInput)
	}
	if _, _, err := n.paperKey(); err != nil {
		return rep, err
	}
	var c bundle.PaperCollector
	for i, code := range codes {
		if err := c.Add(code); err != nil {
			begins := []rune(bundle.CleanCode(code))
			rep.Wrong = append(rep.Wrong, WrongCode{i + 1, string(begins[:min(20, len(begins))]), strings.TrimPrefix(err.Error(), "bundle: ")})
		}
	}
	im := &importer{n: n}
	for _, s := range c.Sheets() {
		sheet, err := n.takeSheet(ctx, im, s)
		if err != nil {
			return rep, err
		}
		rep.Sheets = append(rep.Sheets, sheet)
	}
	rep.New, rep.Filled, rep.Known, rep.Waiting, rep.Refused = im.rep.New, im.rep.Filled, im.rep.Known, im.rep.Waiting, im.rep.Refused
	rep.Words = rep.words()
	return rep, nil
}

// takeSheet takes what one sheet brings, if it is whole. The error is this
// device's.
func (n *Node) takeSheet(ctx context.Context, im *importer, s bundle.PaperSheet) (PaperSheet, error) {
	sheet := PaperSheet{ID: s.ID, Count: s.Count, Missing: append([]int{}, s.Missing...)}
	switch {
	case s.Problem != "":
		sheet.Words = s.Problem
		return sheet, nil
	case s.Content == nil:
		sheet.Words = fmt.Sprintf("%d of %d codes are missing: %s", len(s.Missing), s.Count, numbers(s.Missing))
		return sheet, nil
	}
	number, err := bundle.PaperNumber(s.Content)
	if err != nil {
		sheet.Words = "it was made by a newer Tocsin: update this device"
		return sheet, nil
	}
	key, ok, err := n.heldMeshKey(number)
	if err != nil {
		return sheet, err
	}
	if !ok {
		sheet.Words = fmt.Sprintf("it is sealed under broadcast key %d, which this device has not heard of yet: scan it again when it has", number)
		return sheet, nil
	}
	records, err := bundle.OpenPaper(n.trust.MeshID(), key, s.Content)
	if err != nil {
		sheet.Words = strings.TrimPrefix(err.Error(), "bundle: ")
		return sheet, nil
	}
	for _, r := range records {
		if err := im.take(ctx, r); err != nil {
			return sheet, err
		}
	}
	if err := im.flush(ctx); err != nil {
		return sheet, err
	}
	sheet.Taken, sheet.Words = true, "taken"
	return sheet, nil
}

func (n *Node) heldMeshKey(number uint32) ([32]byte, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return [32]byte{}, false, ErrLocked
	}
	return n.meshKey(number)
}

func (r *PaperReport) words() string {
	taken := 0
	for _, s := range r.Sheets {
		if s.Taken {
			taken++
		}
	}
	switch {
	case taken == 0:
		return "No sheet is whole yet, so that nothing was taken. Give all codes of a sheet together."
	case taken < len(r.Sheets) || len(r.Wrong) > 0:
		return fmt.Sprintf("%d of %d sheets were taken; the others are not whole.", taken, len(r.Sheets))
	case r.Waiting > 0:
		return "Everything on paper was taken. Some of it waits for entries before it: ask for a sheet that goes further back."
	}
	return "Everything on paper was taken."
}

// numbers writes "1 to 3, 7" for people.
func numbers(list []int) string {
	var out []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		text := strconv.Itoa(list[i])
		if j > i {
			text += " to " + strconv.Itoa(list[j])
		}
		out, i = append(out, text), j+1
	}
	return strings.Join(out, ", ")
}
