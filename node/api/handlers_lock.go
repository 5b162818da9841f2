package api

import (
	"errors"
	"net/http"
	"strings"

	"tocsin/node"
)

// secretOf reads exactly one of the two secrets of a body. Space around a passphrase does not count, wherever one is typed.
func secretOf(passphrase, pin string) (node.Secret, error) {
	s := node.Secret{Passphrase: []byte(strings.TrimSpace(passphrase)), PIN: []byte(strings.TrimSpace(pin))}
	if (len(s.Passphrase) == 0) == (len(s.PIN) == 0) {
		forget(s)
		return node.Secret{}, invalid("give the passphrase or the PIN, one of the two")
	}
	return s, nil
}

func forget(s node.Secret) {
	clear(s.Passphrase)
	clear(s.PIN)
}

// trySecret takes one secret at a time, and counts the wrong passphrases; wrong PINs are counted by the vault, on the disk.
func (s *Server) trySecret(secret node.Secret, try func() error) error {
	s.unlocking.Lock()
	defer s.unlocking.Unlock()
	if len(secret.Passphrase) > 0 && !s.keys.mayTryPassphrase() {
		return ErrTooMany
	}
	err := try()
	if errors.Is(err, node.ErrPassphrase) {
		s.keys.wrongPassphrase()
	}
	return err
}

func (s *Server) postUnlock(w http.ResponseWriter, r *http.Request) error {
	var body Unlock
	if err := readJSON(r, &body); err != nil {
		return err
	}
	secret, err := secretOf(body.Passphrase, body.PIN)
	if err != nil {
		return err
	}
	defer forget(secret)
	err = s.trySecret(secret, func() error {
		if len(secret.PIN) > 0 {
			return s.cfg.Node.UnlockPIN(r.Context(), secret.PIN)
		}
		return s.cfg.Node.Unlock(r.Context(), secret.Passphrase)
	})
	if err != nil {
		return err
	}
	return s.getStatus(w, r)
}

func (s *Server) postLock(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Node.Lock(); err != nil {
		return err
	}
	return s.getStatus(w, r)
}

// postLockHard forgets the PIN's half of the keys too.
func (s *Server) postLockHard(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Node.LockHard(); err != nil {
		return err
	}
	return s.getStatus(w, r)
}

// postTouch is a page's word that somebody is at it: keys, pointer or finger. What a page asks for by itself does not count.
func (s *Server) postTouch(w http.ResponseWriter, _ *http.Request) error {
	s.cfg.Node.Touch()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deed is a route that only a person's act asks for: it starts the idle clock anew.
func (s *Server) deed(handle func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		s.cfg.Node.Touch()
		return handle(w, r)
	}
}

// reauthHeader carries the token of POST /v1/reauth to the routes that need one.
const reauthHeader = "Tocsin-Reauth"

func reauth(r *http.Request) string { return r.Header.Get(reauthHeader) }

func (s *Server) postReauth(w http.ResponseWriter, r *http.Request) error {
	var body Unlock
	if err := readJSON(r, &body); err != nil {
		return err
	}
	secret, err := secretOf(body.Passphrase, body.PIN)
	if err != nil {
		return err
	}
	defer forget(secret)
	var granted node.Reauth
	err = s.trySecret(secret, func() (err error) {
		granted, err = s.cfg.Node.Reauth(r.Context(), secret)
		return err
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, granted)
	return nil
}

func (s *Server) putPIN(w http.ResponseWriter, r *http.Request) error {
	var body SetPIN
	if err := readJSON(r, &body); err != nil {
		return err
	}
	pin := []byte(strings.TrimSpace(body.PIN))
	defer clear(pin)
	if err := s.cfg.Node.SetPIN(r.Context(), reauth(r), pin); err != nil {
		return err
	}
	return s.getStatus(w, r)
}

func (s *Server) deletePIN(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Node.ClearPIN(r.Context(), reauth(r)); err != nil {
		return err
	}
	return s.getStatus(w, r)
}

// postPassphrase needs no token: the old passphrase is one.
func (s *Server) postPassphrase(w http.ResponseWriter, r *http.Request) error {
	var body ChangePassphrase
	if err := readJSON(r, &body); err != nil {
		return err
	}
	old, fresh := node.Secret{Passphrase: []byte(strings.TrimSpace(body.Old))}, []byte(strings.TrimSpace(body.New))
	defer forget(old)
	defer clear(fresh)
	if len(old.Passphrase) == 0 || len(fresh) == 0 {
		return invalid("give the old passphrase and the new one")
	}
	err := s.trySecret(old, func() error { return s.cfg.Node.ChangePassphrase(r.Context(), old.Passphrase, fresh) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// postWipe destroys this device's keys at its owner's wish. There is no way back, so it asks for the word besides the token.
func (s *Server) postWipe(w http.ResponseWriter, r *http.Request) error {
	var body Wipe
	if err := readJSON(r, &body); err != nil {
		return err
	}
	if body.Confirm != wipeWord {
		return invalid("to wipe this device, confirm with the word %s", wipeWord)
	}
	if err := s.cfg.Node.WipeSelf(r.Context(), reauth(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// wipeWord is what is typed to wipe a device.
const wipeWord = "WIPE"
