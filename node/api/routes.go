package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
)

// route is one line of the table. Method and path are as in openapi.yaml.
type route struct {
	method, path string
	access       access
	handle       func(w http.ResponseWriter, r *http.Request) error
}

// table lists every route but the pages and their assets.
func (s *Server) table() []route {
	return slices.Concat(s.transferTable(), s.accessTable(), []route{
		{"GET", "/healthz", user, s.getHealth},
		{"GET", "/readyz", user, s.getReady},
		{"GET", "/metrics", script, s.getMetrics},

		{"GET", "/v1/status", user, s.getStatus},
		{"POST", "/v1/unlock", user, s.deed(s.postUnlock)},
		{"POST", "/v1/lock", user, s.postLock},
		{"POST", "/v1/lock/hard", user, s.postLockHard},
		{"POST", "/v1/touch", user, s.postTouch},
		{"POST", "/v1/reauth", user, s.deed(s.postReauth)},
		{"PUT", "/v1/pin", user, s.deed(s.putPIN)},
		{"DELETE", "/v1/pin", user, s.deed(s.deletePIN)},
		{"POST", "/v1/passphrase", user, s.deed(s.postPassphrase)},
		{"POST", "/v1/wipe", user, s.postWipe},
		{"POST", "/v1/mesh", user, s.deed(s.postMesh)},
		{"GET", "/v1/peers", user, s.getPeers},

		{"GET", "/v1/people", user, s.getPeople},
		{"POST", "/v1/people/verify", user, s.deed(s.postVerifyPerson)},
		{"POST", "/v1/people/verify/scan", user, s.deed(s.postVerifyScan)},
		{"POST", "/v1/people/verify/digits", user, s.deed(s.postVerifyDigits)},
		{"GET", "/v1/people/digits", user, s.getDigits},
		{"POST", "/v1/qr/read", user, s.postReadQR},
		{"GET", "/v1/statements", user, s.getStatements},
		{"POST", "/v1/statements", user, s.postStatement},
		{"GET", "/v1/statements/raw", user, s.getRawStatements},
		{"POST", "/v1/sponsor/view", user, s.deed(s.postSponsorView)},
		{"POST", "/v1/sponsor", user, s.deed(s.postSponsor)},
		{"POST", "/v1/sponsor/revoke", user, s.deed(s.postSponsorRevoke)},

		{"GET", "/v1/groups", user, s.getGroups},
		{"POST", "/v1/groups", user, s.deed(s.postGroup)},
		{"GET", "/v1/groups/{id}", user, s.getGroup},
		{"POST", "/v1/groups/{id}/members", user, s.deed(s.postMember)},
		{"POST", "/v1/groups/{id}/members/remove", user, s.deed(s.postRemoveMember)},
		{"GET", "/v1/groups/{id}/roster", user, s.getRoster},
		{"POST", "/v1/groups/{id}/role", user, s.deed(s.postRole)},
		{"POST", "/v1/groups/{id}/leave", user, s.deed(s.postLeave)},
		{"POST", "/v1/groups/{id}/hand-over", user, s.deed(s.postHandOver)},
		{"POST", "/v1/groups/{id}/erase", user, s.deed(s.postErase)},
		{"GET", "/v1/groups/{id}/messages", user, s.getMessages},
		{"POST", "/v1/groups/{id}/messages", user, s.deed(s.postMessage)},
		{"POST", "/v1/groups/{id}/attachments", user, s.deed(s.postAttachment)},
		{"GET", "/v1/attachments", user, s.getAttachments},
		{"POST", "/v1/attachments/{id}/fetch", user, s.deed(s.postFetchAttachment)},
		{"GET", "/v1/attachments/{id}/content", user, s.getAttachmentContent},
		{"GET", "/v1/attachments/{id}/thumb", user, s.getAttachmentThumb},
		{"POST", "/v1/groups/{id}/read", user, s.postRead},
		{"GET", "/v1/groups/{id}/board", user, s.getBoard},
		{"GET", "/v1/groups/{id}/timeline", user, s.getTimeline},
		{"GET", "/v1/groups/{id}/decisions/print", user, s.getDecisionsPrint},
		{"GET", "/v1/cards", user, s.getCards},
		{"PUT", "/v1/cards", script, s.deed(s.putCards)},
		{"GET", "/v1/kinds", user, s.getKinds},
		{"POST", "/v1/messages/{id}/acknowledge", user, s.deed(s.postAcknowledge)},
		{"GET", "/v1/search", user, s.getSearch},
		{"POST", "/v1/drafts", user, s.deed(s.postDraft)},
		{"POST", "/v1/broadcast", user, s.deed(s.postBroadcast)},
		{"GET", "/v1/events", user, s.getEvents},

		{"POST", "/v1/bundles/export", script, s.deed(s.postExportBundle)},
		{"POST", "/v1/bundles/import", script, s.deed(s.postImportBundle)},
		{"POST", "/v1/bundles/paper", user, s.deed(s.postExportPaper)},
		{"POST", "/v1/bundles/scan", user, s.deed(s.postImportPaper)},
		{"POST", "/v1/proofs", user, s.deed(s.postProof)},

		{"GET", "/v1/logs", user, s.getLogs},
		{"GET", "/v1/logs/entries", user, s.getLogEntries},
		{"GET", "/v1/forks", user, s.getForks},
		{"POST", "/v1/mesh/low-bandwidth", user, s.deed(s.postLowBandwidth)},
		{"POST", "/v1/logs/verify", user, s.postVerify},

		{"POST", "/v1/web/code", script, s.postCode},
		{"POST", "/v1/session", anyone, s.postSession},
		{"DELETE", "/v1/session", user, s.deleteSession},

		{"GET", "/openapi.yaml", user, s.getDescription},
	})
}

// routes builds the table and, on TCP, the pages.
func (s *Server) routes(socket bool) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.table() {
		mux.Handle(rt.method+" "+rt.path, s.serve(rt, socket))
	}
	if !socket {
		for _, rt := range s.pages() {
			mux.Handle(rt.method+" "+rt.path, s.serve(rt, socket))
		}
	}
	return mux
}

// serve authorises, runs the handler and answers its error.
func (s *Server) serve(rt route, socket bool) http.Handler {
	name := rt.method + " " + rt.path
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit(rt.path))
		p, err := pass{via: viaSocket}, error(nil)
		if !socket {
			p, err = s.authorise(r, rt.access)
		}
		if err != nil {
			s.refuse(w, r, toError(err))
			return
		}
		s.stats.request(name)
		err = rt.handle(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, p)))
		if err == nil {
			return
		}
		e := toError(err)
		if e == errInternal {
			s.cfg.Logger.Error("a request failed", "route", name, "err", err)
		}
		s.stats.failed(name, e.Code)
		writeError(w, e)
	})
}

// readJSON reads the one JSON object of a request's body: strictly, so that a misspelt field is not silently ignored.
func readJSON(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		discard(r.Body)
		return ErrMediaType
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return ErrTooLarge
		}
		var field *json.UnmarshalTypeError
		if errors.As(err, &field) {
			return invalid("the field %q of the body is of the wrong type", field.Field)
		}
		// The decoder's own words may repeat what was typed.
		return invalid("the body is not the JSON object that this route takes; see /openapi.yaml")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("the body has something after its JSON object")
	}
	return nil
}
