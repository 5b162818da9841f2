// Package web is the page: HTML shells, small hand-written modules and one stylesheet, all embedded, with no build step
// and nothing from elsewhere.
//
// The shells hold no content, and this is why. A page navigation can carry a cookie but no header, and a cookie
// alone proves little on localhost, where every port shares it. So what a navigation gets is a frame that is the same for
// everybody: labels, forms, no name, no message, no title of a conversation. The module that the frame loads then fetches the data
// with the header token, which it keeps in the session storage of this origin, and builds the page from text nodes. Nothing is ever parsed as
// HTML: the policy below makes the browser refuse it (trusted types without any policy), so what a hostile message holds stays text.
//
// The package imports nothing of ours; node/api serves it.
package web

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
)

// ContentSecurityPolicy goes out with every answer. No form is ever submitted by the browser itself: a form whose module failed to load
// must not put a passphrase into an address.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

//go:embed templates/*.html
var templates embed.FS

//go:embed assets
var assets embed.FS

// Page is one of the shells.
type Page struct {
	Name  string // of its template and its module
	Title string // of the browser's window: never content
	Bare  bool   // without the bar, the strip and the lock
	// Camera: the page may ask for the camera. No other may.
	Camera bool
	// OwnStrip: the page places the connection strip itself.
	OwnStrip bool
}

// The pages.
func Unlock() Page        { return Page{Name: "unlock", Title: "Unlock", Bare: true} }
func Conversations() Page { return Page{Name: "conversations", Title: "Conversations"} }
func New() Page           { return Page{Name: "new", Title: "New conversation"} }
func Conversation() Page  { return Page{Name: "conversation", Title: "Conversation", OwnStrip: true} }
func People() Page        { return Page{Name: "people", Title: "People"} }
func Safety() Page        { return Page{Name: "safety", Title: "Safety"} }
func Search() Page        { return Page{Name: "search", Title: "Search"} }
func Mesh() Page          { return Page{Name: "mesh", Title: "Mesh"} }

// Transfer is the page of what is not in the medical record yet, HandOver that of one conversation.
func Transfer() Page { return Page{Name: "transfer", Title: "Record"} }
func HandOver() Page { return Page{Name: "handover", Title: "Record"} }

// Say is the page of forms of a conversation, Everybody that of a message past all conversations.
func Say() Page       { return Page{Name: "say", Title: "Write"} }
func Everybody() Page { return Page{Name: "everybody", Title: "Message to everybody"} }

// Boards are the boards of a conversation by the last part of their address: one shell, whose title says which.
func Boards() map[string]Page {
	out := map[string]Page{}
	for path, title := range map[string]string{"boards": "Boards", "incident": "Incident", "call-outs": "Call-outs", "casualties": "Casualties", "tasks": "Tasks",
		"alerts": "Alerts", "decisions": "Decision log", "duty": "On duty"} {
		out[path] = Page{Name: "board", Title: title}
	}
	return out
}

// Verify is the page on which somebody is verified in person, by a camera where there is one.
func Verify() Page { return Page{Name: "verify", Title: "Verify in person", Camera: true} }

// pages are all of them.
func pages() []Page {
	all := []Page{Unlock(), Conversations(), New(), Conversation(), People(), Verify(), Safety(), Search(), Mesh(), Say(), Everybody(), Transfer(), HandOver()}
	return slices.AppendSeq(all, maps.Values(Boards()))
}

// View is what a shell is filled with. It is the same for everybody who runs this version.
type View struct {
	Version string
}

// parsed are the templates by page name, each with the layout around it.
var parsed = sync.OnceValues(func() (map[string]*template.Template, error) {
	out := map[string]*template.Template{}
	for _, p := range pages() {
		t, err := template.New("layout.html").Option("missingkey=error").ParseFS(templates, "templates/layout.html", "templates/"+p.Name+".html")
		if err != nil {
			return nil, fmt.Errorf("web: page %s: %w", p.Name, err)
		}
		out[p.Name] = t
	}
	return out, nil
})

// Render writes a shell.
func Render(w io.Writer, p Page, v View) error {
	all, err := parsed()
	if err != nil {
		return err
	}
	t := all[p.Name]
	if t == nil {
		return fmt.Errorf("web: no page %q", p.Name)
	}
	if err := t.Execute(w, struct {
		Page
		View
	}{p, v}); err != nil {
		return fmt.Errorf("web: page %s: %w", p.Name, err)
	}
	return nil
}

// Asset is one embedded file.
type Asset struct {
	Name string // as in its path, /assets/<name>
	Type string // media type
	Body []byte
}

// Assets returns every embedded module, style and picture.
func Assets() ([]Asset, error) {
	entries, err := fs.ReadDir(assets, "assets")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	var out []Asset
	for _, e := range entries {
		body, err := fs.ReadFile(assets, "assets/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("web: %w", err)
		}
		kind := types[path.Ext(e.Name())]
		if kind == "" {
			return nil, fmt.Errorf("web: %s is of no known type", e.Name())
		}
		out = append(out, Asset{Name: e.Name(), Type: kind, Body: body})
	}
	return out, nil
}
