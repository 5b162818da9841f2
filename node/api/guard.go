package api

import (
	"context"
	"net/http"
	"strings"

	"tocsin/node/web"
)

// access is who may use a route.
type access uint8

const (
	// anyone: pages, scripts and styles, which hold no content, and the route that takes the one-time code.
	anyone access = iota
	// user: the socket, the bearer token, or a browser session.
	user
	// script: the socket or the bearer token. A page cannot make codes that let other pages in, or read metrics.
	script
)

// via is how a request was let in.
type via uint8

const (
	viaNothing via = iota
	viaSocket
	viaBearer
	viaSession
)

type contextKey struct{}

// pass is what the guard found out about a request.
type pass struct {
	via     via
	session *session // for viaSession
}

func passOf(ctx context.Context) pass {
	p, _ := ctx.Value(contextKey{}).(pass)
	return p
}

// guardTCP is what every request on TCP goes through, known route or not.
func (s *Server) guardTCP(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.refuse(w, r, ErrForbidden) }))
	next = cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secureHeaders(w.Header())
		if !s.hosts[strings.ToLower(r.Host)] {
			s.refuse(w, r, ErrWrongHost)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guardUnix is its counterpart on the socket, which no browser can reach.
func (s *Server) guardUnix(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secureHeaders(w.Header())
		next.ServeHTTP(w, r)
	})
}

const noOtherSensor = "geolocation=(), microphone=(), payment=(), usb=()"

func secureHeaders(h http.Header) {
	h.Set("Content-Security-Policy", web.ContentSecurityPolicy)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), "+noOtherSensor)
}

// authorise decides whether a request on TCP may use a route.
func (s *Server) authorise(r *http.Request, a access) (pass, error) {
	if a == anyone {
		return pass{}, nil
	}
	if given := r.Header.Get("Authorization"); given != "" {
		return s.byBearer(r, given)
	}
	p, err := s.bySession(r)
	if err != nil {
		return pass{}, err
	}
	if a == script {
		return pass{}, ErrUnauthorised
	}
	return p, nil
}

// byBearer lets in who holds the token file. Browsers add Origin or Sec-Fetch headers, and are refused.
func (s *Server) byBearer(r *http.Request, given string) (pass, error) {
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
		if r.Header.Get(name) != "" {
			return pass{}, ErrForbidden
		}
	}
	token, ok := strings.CutPrefix(given, "Bearer ")
	if !ok || !s.keys.isBearer(token) {
		return pass{}, ErrUnauthorised
	}
	return pass{via: viaBearer}, nil
}

// tokenHeader is the half of a browser's credential that is not a cookie.
const tokenHeader = "Tocsin-Token"

// bySession lets in a page of ours: cookie and header token, and no sign of another site.
func (s *Server) bySession(r *http.Request) (pass, error) {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "" && site != "same-origin" {
		return pass{}, ErrForbidden
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return pass{}, ErrForbidden
	}
	cookie, err := r.Cookie(s.cookie)
	if err != nil {
		return pass{}, ErrUnauthorised
	}
	found := s.keys.session(cookie.Value, r.Header.Get(tokenHeader))
	if found == nil {
		return pass{}, ErrUnauthorised
	}
	return pass{via: viaSession, session: found}, nil
}

// refuse answers a request that is not let in, and notes it without what it carried.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, e *Error) {
	s.stats.refused(e.Code)
	s.cfg.Logger.Warn("a request was refused", "method", r.Method, "reason", e.Code, "origin_given", r.Header.Get("Origin") != "")
	writeError(w, e)
}
