package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"tocsin/node"
)

// Error is what a request that failed is answered with, as {"error": {...}}. Code is stable and for programs, Message
// says what is wrong and Hint what to do; both are for people and never hold content.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	retryAfter int // seconds; 0 leaves the header out
}

// Error implements error.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + ": " + e.Hint
}

// Is lets errors.Is compare by code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// The errors that have a code of their own, for errors.Is on what a Client returns.
var (
	ErrUnauthorised = &Error{http.StatusUnauthorized, "unauthorised", "this request carries no valid credential", "open the page again with `tocsin open`, or pass the token from the token file", 0}
	ErrForbidden    = &Error{http.StatusForbidden, "forbidden", "this request comes from another site or by another name", "open the page with `tocsin open`", 0}
	ErrWrongHost    = &Error{http.StatusMisdirectedRequest, "wrong_host", "this service answers only as 127.0.0.1, localhost or [::1]", "open the page with `tocsin open`", 0}
	ErrCode         = &Error{http.StatusUnauthorized, "wrong_code", "this code is wrong, used up or too old", "get a new one with `tocsin open`", 0}
	ErrPassphrase   = &Error{http.StatusUnauthorized, "wrong_passphrase", "this is not the passphrase of this device", "check it and try again; it is six words in lower case unless you chose another", 0}
	ErrTooMany      = &Error{http.StatusTooManyRequests, "too_many_tries", "too many wrong tries", "wait a minute and try again", 60}
	ErrStreams      = &Error{http.StatusServiceUnavailable, "too_many_streams", "too many pages are open on this device", "close some of them", 5}
	ErrLocked       = &Error{http.StatusLocked, "locked", "this device is locked", "unlock it with its passphrase (`tocsin unlock`)", 0}
	ErrNotFound     = &Error{http.StatusNotFound, "not_found", "there is no such thing on this device", "", 0}
	ErrInvalid      = &Error{http.StatusBadRequest, "invalid", "this request cannot be acted on", "", 0}
	ErrTooLarge     = &Error{http.StatusRequestEntityTooLarge, "too_large", "this request is too large", fmt.Sprintf("send at most %d bytes", maxBody), 0}
	ErrMediaType    = &Error{http.StatusUnsupportedMediaType, "not_json", "the body of a request is JSON", "set Content-Type: application/json", 0}
	ErrReadOnly     = &Error{http.StatusInsufficientStorage, "read_only", "nothing can be saved on this device at present", "free some disk space; nothing saved so far is lost", 0}
	ErrShuttingDown = &Error{http.StatusServiceUnavailable, "stopping", "this node is stopping", "start it again with `tocsin up`", 0}
	errInternal     = &Error{http.StatusInternalServerError, "internal", "something went wrong in this node", "see its log; nothing saved is lost", 0}
)

// invalid is a request that cannot be acted on, with what is wrong in it.
func invalid(format string, args ...any) error {
	e := *ErrInvalid
	e.Message = fmt.Sprintf(format, args...)
	return &e
}

// toError finds the answer for an error of a handler. An error that nobody foresaw is logged by the caller and
// answered without its text, which may name files or hold what was typed.
func toError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return ErrTooLarge
	}
	switch {
	case errors.Is(err, node.ErrLocked):
		return ErrLocked
	case errors.Is(err, node.ErrPassphrase):
		return ErrPassphrase
	case errors.Is(err, node.ErrNotFound):
		return withSentence(ErrNotFound, node.ErrNotFound, err)
	case errors.Is(err, node.ErrReadOnly):
		return withSentence(ErrReadOnly, node.ErrReadOnly, err)
	case errors.Is(err, node.ErrInvalid):
		return withSentence(ErrInvalid, node.ErrInvalid, err)
	}
	if errors.Is(err, context.Canceled) {
		return ErrShuttingDown
	}
	return errInternal
}

// withSentence takes over the node's own sentence where it says more than ours.
func withSentence(answer *Error, sentinel, err error) *Error {
	said, more := strings.CutPrefix(err.Error(), sentinel.Error()+": ")
	if !more {
		return answer
	}
	e := *answer
	e.Message = said
	return &e
}

type errorBody struct {
	Error *Error `json:"error"`
}

func writeError(w http.ResponseWriter, e *Error) {
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	writeJSON(w, e.Status, errorBody{e})
}

// writeJSON answers with v. An error of writing means that the client has gone, and nobody is left to tell.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer cannot be written"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
