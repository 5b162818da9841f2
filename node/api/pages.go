package api

import (
	"bytes"
	"encoding/hex"
	"net/http"

	"tocsin/node/web"
)

// pages lists the shells and what they load. They are open to anyone because they hold nothing (see node/web); whatever they
// show they fetch from the routes above, as the user.
func (s *Server) pages() []route {
	routes := []route{
		{"GET", "/{$}", anyone, s.page(web.Conversations())},
		{"GET", "/new", anyone, s.page(web.New())},
		{"GET", "/unlock", anyone, s.page(web.Unlock())},
		{"GET", "/people", anyone, s.page(web.People())},
		{"GET", "/mesh", anyone, s.page(web.Mesh())},
		{"GET", "/verify", anyone, s.page(web.Verify())},
		{"GET", "/safety", anyone, s.page(web.Safety())},
		{"GET", "/search", anyone, s.page(web.Search())},
		{"GET", "/everybody", anyone, s.page(web.Everybody())},
		{"GET", "/transfer", anyone, s.page(web.Transfer())},
		{"GET", "/c/{id}/transfer", anyone, s.conversationPage(web.HandOver())},
		{"GET", "/c/{id}", anyone, s.conversationPage(web.Conversation())},
		{"GET", "/c/{id}/say", anyone, s.conversationPage(web.Say())},
		{"GET", "/c/{id}/say/{kind}", anyone, s.conversationPage(web.Say())},
		{"GET", "/favicon.ico", anyone, func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
	}
	for path, p := range web.Boards() {
		routes = append(routes, route{"GET", "/c/{id}/" + path, anyone, s.conversationPage(p)})
	}
	for _, a := range s.assets {
		routes = append(routes, route{"GET", "/assets/" + a.Name, anyone, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", a.Type)
			_, _ = w.Write(a.Body) // an error means that the client has gone
			return nil
		}})
	}
	return routes
}

func (s *Server) page(p web.Page) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		var b bytes.Buffer
		if err := web.Render(&b, p, web.View{Version: s.cfg.Node.Status().Version}); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if p.Camera {
			w.Header().Set("Permissions-Policy", "camera=(self), "+noOtherSensor)
		}
		_, _ = w.Write(b.Bytes()) // an error means that the client has gone
		return nil
	}
}

// conversationPage is the same shell for every id that can be one; whether there is such a conversation is not said here.
func (s *Server) conversationPage(p web.Page) func(http.ResponseWriter, *http.Request) error {
	show := s.page(p)
	return func(w http.ResponseWriter, r *http.Request) error {
		if id, err := hex.DecodeString(r.PathValue("id")); err != nil || len(id) != 32 {
			return errNoGroup
		}
		return show(w, r)
	}
}
