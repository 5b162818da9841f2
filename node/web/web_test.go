package web

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func rendered(t *testing.T, p Page, v View) string {
	t.Helper()
	var b bytes.Buffer
	if err := Render(&b, p, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestShellsFitThePolicy: nothing inline, nothing from elsewhere. The browser would refuse it; this says so sooner.
func TestShellsFitThePolicy(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?:[^>]*)>[^<]|(?:src|href)="(?:https?:)?//`)
	for _, p := range pages() {
		html := rendered(t, p, View{Version: `"><script>alert(1)</script>`})
		if found := inline.FindString(html); found != "" {
			t.Errorf("%s: %q is against the policy", p.Name, found)
		}
		if strings.Contains(html, "<script>alert") {
			t.Errorf("%s: the version is not escaped", p.Name)
		}
	}
}

// TestShellsAreForEveryone: two renderings differ in nothing, and a page's title is one of a few fixed words.
func TestShellsAreForEveryone(t *testing.T) {
	title := regexp.MustCompile(`<title>(.*)</title>`)
	known := map[string]bool{"Unlock – Tocsin": true, "Conversations – Tocsin": true, "New conversation – Tocsin": true, "Conversation – Tocsin": true,
		"People – Tocsin": true, "Verify in person – Tocsin": true, "Safety – Tocsin": true, "Search – Tocsin": true, "Mesh – Tocsin": true,
		"Write – Tocsin": true, "Message to everybody – Tocsin": true, "Boards – Tocsin": true, "Incident – Tocsin": true, "Call-outs – Tocsin": true,
		"Casualties – Tocsin": true, "Tasks – Tocsin": true, "Alerts – Tocsin": true, "Decision log – Tocsin": true, "On duty – Tocsin": true, "Record – Tocsin": true}
	for _, p := range pages() {
		html := rendered(t, p, View{Version: "1"})
		if html != rendered(t, p, View{Version: "1"}) {
			t.Errorf("%s is not always the same", p.Name)
		}
		if m := title.FindStringSubmatch(html); m == nil || !known[m[1]] {
			t.Errorf("%s: title %v", p.Name, m)
		}
		for _, want := range []string{`lang="en-GB"`, `<main id="main"`, `<meta name="viewport"`, "<h1"} {
			if !strings.Contains(html, want) {
				t.Errorf("%s lacks %s", p.Name, want)
			}
		}
	}
	if err := Render(&bytes.Buffer{}, Page{Name: "nothing"}, View{}); err == nil {
		t.Error("a page that is not there was rendered")
	}
}

// TestModulesParseNoHTML: content becomes text nodes and nothing else. Trusted types enforce it in the browser.
func TestModulesParseNoHTML(t *testing.T) {
	all, err := Assets()
	if err != nil {
		t.Fatal(err)
	}
	sinks := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\(|new Function|\.srcdoc|setHTML|localStorage|document\.title`)
	elsewhere := regexp.MustCompile(`https?://|url\(`)
	names := map[string]bool{}
	for _, a := range all {
		names[a.Name] = true
		body := string(a.Body)
		if a.Name == "exercise.js" { // puts one fixed word before the title that the shell brought, and nothing else
			allowed := []string{"const plain = document.title;", "document.title = on ? MARK + plain : plain;", "const MARK = 'EXERCISE – ';"}
			for _, line := range allowed {
				if !strings.Contains(body, line) {
					t.Errorf("exercise.js lacks %s", line)
				}
				body = strings.Replace(body, line, "", 1)
			}
		}
		if found := sinks.FindString(body); found != "" {
			t.Errorf("%s uses %s", a.Name, found)
		}
		if found := elsewhere.FindString(body); found != "" && !strings.HasSuffix(a.Name, ".svg") {
			t.Errorf("%s loads from elsewhere: %s", a.Name, found)
		}
	}
	imports := regexp.MustCompile(`from '([^']*)'`)
	for _, a := range all {
		for _, m := range imports.FindAllStringSubmatch(string(a.Body), -1) {
			if !names[strings.TrimPrefix(m[1], "/assets/")] {
				t.Errorf("%s imports %s, which is not there", a.Name, m[1])
			}
		}
	}
	for _, p := range pages() {
		if !names[p.Name+".js"] {
			t.Errorf("page %s has no module", p.Name)
		}
	}
}
