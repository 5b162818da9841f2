package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tocsin/node"
)

// Error is what a request that failed is answered with, as {"error": {...}}. Code is stable and for programs, Message
// says what is wrong and Hint what to do; both are for people and never hold content.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// RetryAfter is how many seconds to wait, and goes out as the header of that name too; 0 for no wait.
	RetryAfter int `json:"retry_after,omitempty"`
	// AttemptsLeft comes with wrong_pin: how many tries there are until only the passphrase opens.
	AttemptsLeft *int `json:"attempts_left,omitempty"`
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
	ErrUnauthorised = &Error{Status: http.StatusUnauthorized, Code: "unauthorised", Message: "this request carries no valid credential", Hint: "open the page again with `tocsin open`, or pass the token from the token file"}
	ErrForbidden    = &Error{Status: http.StatusForbidden, Code: "forbidden", Message: "this request comes from another site or by another name", Hint: "open the page with `tocsin open`"}
	ErrWrongHost    = &Error{Status: http.StatusMisdirectedRequest, Code: "wrong_host", Message: "this service answers only as 127.0.0.1, localhost or [::1]", Hint: "open the page with `tocsin open`"}
	ErrCode         = &Error{Status: http.StatusUnauthorized, Code: "wrong_code", Message: "this code is wrong, used up or too old", Hint: "get a new one with `tocsin open`"}
	ErrPassphrase   = &Error{Status: http.StatusUnauthorized, Code: "wrong_passphrase", Message: "this is not the passphrase of this device", Hint: "check it and try again; it is six words in lower case unless you chose another"}
	ErrTooMany      = &Error{Status: http.StatusTooManyRequests, Code: "too_many_tries", Message: "too many wrong tries", Hint: "wait a minute and try again", RetryAfter: 60}
	ErrStreams      = &Error{Status: http.StatusServiceUnavailable, Code: "too_many_streams", Message: "too many pages are open on this device", Hint: "close some of them", RetryAfter: 5}
	ErrLocked       = &Error{Status: http.StatusLocked, Code: "locked", Message: "this device is locked", Hint: "unlock it with its passphrase (`tocsin unlock`)"}
	ErrNotFound     = &Error{Status: http.StatusNotFound, Code: "not_found", Message: "there is no such thing on this device", Hint: ""}
	ErrInvalid      = &Error{Status: http.StatusBadRequest, Code: "invalid", Message: "this request cannot be acted on", Hint: ""}
	ErrFileType     = &Error{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Message: "the body of this request is a file", Hint: "send it as application/octet-stream"}
	ErrTooLarge     = &Error{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: "this request is too large", Hint: fmt.Sprintf("send at most %d bytes", maxBody)}
	ErrMediaType    = &Error{Status: http.StatusUnsupportedMediaType, Code: "not_json", Message: "the body of a request is JSON", Hint: "set Content-Type: application/json"}
	ErrReadOnly     = &Error{Status: http.StatusInsufficientStorage, Code: "read_only", Message: "nothing can be saved on this device at present", Hint: "free some disk space; nothing saved so far is lost"}
	ErrShuttingDown = &Error{Status: http.StatusServiceUnavailable, Code: "stopping", Message: "this node is stopping", Hint: "start it again with `tocsin up`"}
	ErrWrongPIN     = &Error{Status: http.StatusUnauthorized, Code: "wrong_pin", Message: "this is not the PIN of this device", Hint: "try again, or use the passphrase; nothing is lost by trying"}
	ErrBackOff      = &Error{Status: http.StatusTooManyRequests, Code: "back_off", Message: "too soon after a wrong PIN", Hint: "wait, or use the passphrase"}
	ErrNoPIN        = &Error{Status: http.StatusConflict, Code: "no_pin", Message: "no PIN can be used now", Hint: "use the passphrase"}
	ErrReauth       = &Error{Status: http.StatusForbidden, Code: "reauthenticate", Message: "this needs the passphrase or the PIN once more", Hint: "ask for them at POST /v1/reauth, and send its token as Tocsin-Reauth"}
	ErrWiped        = &Error{Status: http.StatusGone, Code: "wiped", Message: "this device was wiped", Hint: "it holds nothing to read any more; enrol a device anew"}
	ErrUnwitnessed  = &Error{Status: http.StatusConflict, Code: "unwitnessed", Message: "too few other devices have signed for this message yet", Hint: "wait until this device has met two others since it was sent, then ask again"}
	errInternal     = &Error{Status: http.StatusInternalServerError, Code: "internal", Message: "something went wrong in this node", Hint: "see its log; nothing saved is lost"}
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
	case errors.Is(err, node.ErrWiped):
		return ErrWiped
	case errors.Is(err, node.ErrLocked):
		return ErrLocked
	case errors.Is(err, node.ErrPassphrase):
		return ErrPassphrase
	case errors.Is(err, node.ErrPIN), errors.Is(err, node.ErrBackoff):
		return pinError(err)
	case errors.Is(err, node.ErrNoPIN):
		return ErrNoPIN
	case errors.Is(err, node.ErrReauth):
		return ErrReauth
	case errors.Is(err, node.ErrUnwitnessed):
		return ErrUnwitnessed
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

// pinError puts into numbers what a wrong PIN costs.
func pinError(err error) *Error {
	var wrong *node.PINError
	if errors.As(err, &wrong) {
		e := *ErrWrongPIN
		e.AttemptsLeft, e.RetryAfter = &wrong.Left, seconds(wrong.Wait)
		switch {
		case wrong.Left == 0:
			e.Hint = "the PIN is used up: unlock with the passphrase; no message is lost"
		case e.RetryAfter > 0:
			e.Hint = fmt.Sprintf("%s left; wait %s before the next", plural(wrong.Left, "try is", "tries are"), waiting(e.RetryAfter))
		default:
			e.Hint = plural(wrong.Left, "try is", "tries are") + " left"
		}
		return &e
	}
	e := *ErrBackOff
	var soon *node.BackoffError
	if errors.As(err, &soon) {
		e.RetryAfter = seconds(soon.Wait)
		e.Hint = fmt.Sprintf("wait %s, or use the passphrase", waiting(e.RetryAfter))
	}
	return &e
}

// seconds rounds up, so that who waits as long as was said has waited enough.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

func waiting(seconds int) string {
	if seconds < 120 {
		return plural(seconds, "second", "seconds")
	}
	return plural((seconds+59)/60, "minute", "minutes")
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
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfter))
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
