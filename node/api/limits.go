package api

import (
	"time"

	"tocsin/node/message"
)

// Every limit of the package.
const (
	maxBody        = 64 << 10 // bytes of a request's body
	maxLongBody    = 96 << 10 // of one that carries a statement or a request to sponsor, in base 64
	maxPicture     = 1 << 20  // of one that is a picture
	maxAccess      = 4 << 20  // of a request for access, with its redactions
	maxHeader      = 16 << 10 // bytes of a request's header
	maxStreams     = 16       // event streams at once
	maxSessions    = 32       // browser sessions at once; the oldest gives way
	maxCodes       = 8        // one-time codes that wait to be used; the oldest gives way
	maxMessages    = 500      // messages in one answer
	maxErase       = 500      // messages erased by one request
	maxLogEntries  = 1000     // log entries in one answer
	eventsKept     = 512      // events a stream may fall behind before it is told of a gap
	triesPerMinute = 10       // wrong codes a minute, and wrong passphrases a minute

	qrPart     = 64   // bytes of a sequence in one QR code
	maxQRCodes = 600  // QR codes of one sequence: 37.5 KiB, some ten minutes of showing
	qrScale    = 8    // pixels of a module in a picture of a code
	qrSide     = 1600 // pixels of the longer side of what is looked at for codes
	// maxPicturePixels bounds the frames of a page's camera.
	maxPicturePixels = 4 << 20
	// MaxQRPixels bounds the pictures that a command reads: a large camera's.
	MaxQRPixels = 64 << 20
	// MaxQRBytes bounds their files.
	MaxQRBytes = 32 << 20

	codeLife    = 2 * time.Minute
	sessionLife = 12 * time.Hour
	sessionIdle = time.Hour // an open event stream counts as use

	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	fileTimeout       = 30 * time.Minute // of a file on its way in or out
	verifyTimeout     = 30 * time.Minute // of the one route that reads every entry
	streamWrite       = 15 * time.Second // a stream that takes nothing for so long is closed
	heartbeat         = 20 * time.Second
	shutdownTimeout   = 3 * time.Second
)

// bodyLimit is how many bytes the body of a request to a route may have.
func bodyLimit(path string) int64 {
	switch path {
	case "/v1/qr/read", "/v1/bundles/scan":
		return maxPicture
	case "/v1/access", "/v1/access/find":
		return maxAccess
	case "/v1/groups/{id}/attachments":
		return message.MaxAttachment + 1 // one more, so that the node says what its limit is
	case "/v1/statements", "/v1/sponsor", "/v1/sponsor/view":
		return maxLongBody
	}
	return maxBody
}
