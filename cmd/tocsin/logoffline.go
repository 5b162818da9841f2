package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node"
	"tocsin/node/api"
)

// offlineLogs reads the logs from the data directory while no node runs. It
// holds the directory's lock, so that none starts meanwhile.
type offlineLogs struct {
	lock  *os.File
	store ledger.Store
	all   *ledger.Logs
	own   identity.Key // zero before enrolment
}

func (a *app) openOfflineLogs(ctx context.Context, d dataDir) (_ *offlineLogs, err error) {
	if _, err := os.Stat(d.file(storeDir)); errors.Is(err, fs.ErrNotExist) {
		return nil, fail(exitNotFound, "Start the node with 'tocsin up' first.", "this device holds no logs yet")
	}
	relay, err := d.relayKeys()
	if err != nil {
		return nil, err
	}
	r := &offlineLogs{}
	if r.lock, err = d.lock(); err != nil {
		return nil, err
	}
	if r.store, err = d.store(relay.Store, slog.New(slog.DiscardHandler), ""); err != nil {
		return nil, errors.Join(err, r.lock.Close())
	}
	if r.all, err = ledger.Open(ctx, ledger.Config{Store: r.store, Authors: nobody{}}); err == nil {
		r.own, err = d.signingKey()
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// signingKey returns the author of this device's own log.
func (d dataDir) signingKey() (identity.Key, error) {
	bundle, err := d.bundle()
	if errors.Is(err, fs.ErrNotExist) {
		return identity.Key{}, nil
	}
	if err != nil {
		return identity.Key{}, err
	}
	trust, err := identity.NewTrustStore(bundle)
	if err != nil {
		return identity.Key{}, err
	}
	raw, err := d.wire(credentialFile, pemCredential)
	if err != nil {
		return identity.Key{}, err
	}
	cred, err := trust.ReadCredential(raw)
	if err != nil {
		return identity.Key{}, err
	}
	return cred.SigningKey, nil
}

// nobody admits nobody: nothing is appended here.
type nobody struct{}

func (nobody) Known(identity.Key) bool { return false }
func (nobody) Admit(*ledger.Entry) error {
	return errors.New("nothing is appended while the logs are read")
}
func (r *offlineLogs) offline() bool { return true }
func (r *offlineLogs) close() error  { return errors.Join(r.store.Close(), r.lock.Close()) }
func hexOf[T ~[32]byte](id T) string { return hex.EncodeToString(id[:]) }
func hlcTime(hlc uint64) time.Time   { return time.UnixMilli(int64(hlc >> 16)) }

func (r *offlineLogs) logs(context.Context) ([]node.LogInfo, error) {
	var out []node.LogInfo
	for _, h := range r.all.Frontier() {
		out = append(out, node.LogInfo{Log: h.Log.String(), Entries: h.Next, Head: hexOf(h.ID), Own: h.Log.Author == r.own})
	}
	return out, nil
}

func (r *offlineLogs) entries(ctx context.Context, log string, from uint64, limit int) ([]node.EntryInfo, error) {
	id, err := identity.ParseLogID(log)
	if err != nil {
		return nil, err
	}
	out := []node.EntryInfo{}
	err = r.all.Entries(ctx, id, from, from+uint64(limit), func(e *ledger.Entry) error {
		h := e.Header
		out = append(out, node.EntryInfo{
			ID: hexOf(e.ID()), Log: log, Seq: h.Seq, Prev: hexOf(h.Prev), Time: hlcTime(h.HLC),
			Kind: h.Kind.String(), Priority: h.Priority.String(), Bytes: len(e.Frame()),
		})
		return nil
	})
	return out, err
}

func (r *offlineLogs) verify(ctx context.Context, progress func(done, total uint64)) (api.Verified, error) {
	report, err := r.all.VerifyAll(ctx, progress)
	v := api.Verified{
		Valid: report.OK(), Logs: len(report.Logs), Entries: report.Entries, Bytes: report.Bytes,
		Forks: report.Forks, Bad: report.Failures, Problems: []api.VerifyProblem{},
	}
	for _, f := range report.First {
		v.Problems = append(v.Problems, api.VerifyProblem{Log: f.Log.String(), Seq: f.Seq, Reason: plainWords(f.Err)})
	}
	return v, err
}
