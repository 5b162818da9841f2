package record

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"tocsin/ledger"
	"tocsin/node/message"
)

// small is a scene that takes few requests, with everything that points at everything.
func small(t *testing.T) *Export {
	t.Helper()
	x, err := New(incident(scene(t)...), files())
	must(t, err)
	return x
}

// few is a scene of fewer messages, for tests that send it many times.
func few(t *testing.T) *Export {
	t.Helper()
	kinds := []message.Kind{message.KindMETHANE, message.KindText, message.KindTask, message.KindTaskUpdate, message.KindAttachment, message.KindReceipt}
	x, err := New(incident(slices.DeleteFunc(scene(t), func(in Item) bool { return !slices.Contains(kinds, in.Message.Kind()) })...), files())
	must(t, err)
	return x
}

func upload(t *testing.T, x *Export, done []Receipt) *Upload {
	t.Helper()
	u, err := x.Upload(PlanOptions{Batch: 24}, done)
	must(t, err)
	return u
}

// whole checks that everything stands in the record, with a receipt for each message.
func whole(t *testing.T, x *Export, u *Upload) {
	t.Helper()
	s := u.Status()
	if !s.Over || s.Transferred != x.Messages() || len(s.Refused) > 0 || s.Stopped != "" {
		t.Fatalf("the upload is not whole: %+v", s)
	}
	if len(u.receipts) != x.Messages() {
		t.Fatalf("%d receipts for %d messages", len(u.receipts), x.Messages())
	}
}

// Sending everything twice, by two devices that know nothing of each other, makes nothing twice.
func TestUploadTwice(t *testing.T) {
	m, x := newMemory(), small(t)
	endpoint := serve(t, m)
	for range 2 {
		w := &wire{}
		u := upload(t, x, nil)
		must(t, sender(t, endpoint, w).Run(t.Context(), u))
		whole(t, x, u)
		m.census(t, x)
		if w.most > InFlight {
			t.Errorf("%d requests were under way at once", w.most)
		}
	}
}

// Whatever happens to whichever request, trying again makes everything once.
func TestUploadFaults(t *testing.T) {
	x := few(t)
	w := &wire{}
	must(t, sender(t, serve(t, newMemory()), w).Run(t.Context(), upload(t, x, nil)))
	requests := w.n
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for at := 1; at <= requests; at++ {
				m := newMemory()
				u := upload(t, x, nil)
				must(t, sender(t, serve(t, m), &wire{at: at, fault: f}).Run(t.Context(), u))
				whole(t, x, u)
				m.census(t, x)
			}
		})
	}
}

// An upload that ends at any request, before or after the endpoint committed, is gone on with from its receipts; a receipt exists only for
// what stands in the record.
func TestUploadInterrupted(t *testing.T) {
	x := few(t)
	w := &wire{}
	must(t, sender(t, serve(t, newMemory()), w).Run(t.Context(), upload(t, x, nil)))
	for at := 1; at <= w.n; at++ {
		for _, f := range faults()[:2] {
			m := newMemory()
			endpoint := serve(t, m)
			ctx, cancel := context.WithCancel(t.Context())
			var kept []Receipt
			c := sender(t, endpoint, &wire{at: at, fault: f, end: cancel})
			c.Saved = func(news []Receipt) error { kept = append(kept, news...); return nil }
			err := c.Run(ctx, upload(t, x, nil))
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) { // none: answers came in another order, and there were fewer requests
				t.Fatalf("interrupted at request %d: %v", at, err)
			}
			for _, r := range kept {
				if len(m.find(strings.Split(r.Location, "/")[0], entryIdentifier(r.Entry).search())) != 1 && !strings.HasPrefix(r.Location, "AuditEvent/") {
					t.Errorf("a receipt for %s, which is not in the record", r.Location)
				}
			}
			u := upload(t, x, kept)
			must(t, sender(t, endpoint, &wire{}).Run(t.Context(), u))
			whole(t, x, u)
			m.census(t, x)
		}
	}
}

// An endpoint that says it stored something is not believed until it returns it.
func TestUploadLies(t *testing.T) {
	forgets := func(kind string) func(*http.Response) (*http.Response, error) {
		return func(r *http.Response) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(strings.ReplaceAll(string(body), `"location":"`+kind+"/", `"location":"`+kind+"/lost-")))
			return r, err
		}
	}
	x := few(t)
	for name, as := range map[string]func(*http.Response) (*http.Response, error){
		"stores nothing": forgets("Communication"), "stores another type": swapped, "stores something else": altered, "answers 200 with no answer": replaced("{}"),
	} {
		u := upload(t, x, nil)
		err := sender(t, serve(t, lying(as)), &wire{}).Run(t.Context(), u)
		s := u.Status()
		for id := range u.receipts {
			if k := x.index.items[id].Message.Kind(); firstKind(x.index.items[id].Message.Content) == "Communication" {
				t.Errorf("%s: a receipt for a message of kind %s", name, k)
			}
		}
		if err == nil && len(s.Refused) == 0 {
			t.Errorf("%s: nobody is told", name)
		}
	}
}

// lying is an endpoint whose transactions are answered with something else than happened.
func lying(as func(*http.Response) (*http.Response, error)) http.Handler {
	m := newMemory()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		m.ServeHTTP(rec, r)
		resp, err := as(rec.Result())
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
	})
}

func edited(from, to string) func(*http.Response) (*http.Response, error) {
	return func(r *http.Response) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(strings.ReplaceAll(string(body), from, to)))
		return r, err
	}
}

func swapped(r *http.Response) (*http.Response, error) {
	return edited(`"location":"Communication/`, `"location":"Patient/`)(r)
}

func altered(r *http.Response) (*http.Response, error) {
	return edited(`"contentString":"`, `"contentString":"not `)(r)
}

// What only a person can put right stops the upload with words that say what to do; going on afterwards makes it whole.
func TestUploadStops(t *testing.T) {
	for code, words := range map[int]string{401: "renew the token", 403: "renew the token", 404: "check the URL", 302: "check the URL"} {
		m, x := newMemory(), few(t)
		endpoint := serve(t, m)
		var kept []Receipt
		c := sender(t, endpoint, &wire{at: 3, fault: fault{code: code}})
		c.Saved = func(news []Receipt) error { kept = append(kept, news...); return nil }
		u := upload(t, x, nil)
		err := c.Run(t.Context(), u)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("HTTP %d: %v", code, err)
		}
		if s := u.Status(); s.Over || s.Stopped == "" {
			t.Errorf("HTTP %d: %+v", code, s)
		}
		u = upload(t, x, kept)
		must(t, sender(t, endpoint, &wire{}).Run(t.Context(), u))
		whole(t, x, u)
		m.census(t, x)
	}
}

// An endpoint that stays down is given up on after a few tries, each after a longer wait.
func TestUploadDown(t *testing.T) {
	var waits []time.Duration
	c := &Client{URL: "http://localhost/fhir", HTTP: &http.Client{Transport: &wire{next: down{}}}, Sleep: func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	}}
	err := c.Run(t.Context(), upload(t, small(t), nil))
	if err == nil || !strings.Contains(err.Error(), "Nothing was lost") || len(waits) != maxTries-1 || !slices.IsSorted(waits) || waits[0] <= 0 {
		t.Errorf("%v after waiting %v", err, waits)
	}
}

type down struct{}

func (down) RoundTrip(*http.Request) (*http.Response, error) { return nil, errCut }

// One message that is refused holds up no other but those that point at it.
func TestUploadOneRefused(t *testing.T) {
	for _, code := range []int{400, 412, 422} {
		m, x := newMemory(), small(t)
		m.fail = func(kind string, r object) int {
			if kind == "Task" {
				return code
			}
			return 0
		}
		u := upload(t, x, nil)
		must(t, sender(t, serve(t, m), &wire{}).Run(t.Context(), u))
		var kinds []string
		for _, r := range u.Status().Refused {
			kinds = append(kinds, string(x.index.items[r.Entry].Message.Kind()))
			if !strings.Contains(r.Reason, fmt.Sprint(code)) {
				t.Errorf("HTTP %d: the reason is %q", code, r.Reason)
			}
		}
		slices.Sort(kinds)
		if want := []string{"task", "task-update"}; !slices.Equal(kinds, want) {
			t.Errorf("HTTP %d: refused are %v, want %v", code, kinds, want)
		}
		if page := m.all["Composition"]; len(page) != 1 || !strings.Contains(str(sub(page[0], "text"), "div"), "the record did not take them: 2 messages") {
			t.Errorf("HTTP %d: the page in the record does not say what is missing", code)
		}
		if u.Status().Transferred != x.Messages()-2 {
			t.Errorf("HTTP %d: %d of %d were transferred", code, u.Status().Transferred, x.Messages())
		}
	}
}

// A number that the record knows as somebody else's gets no message.
func TestUploadOtherPatient(t *testing.T) {
	for name, patient := range map[string]object{
		"another name":     {"name": []any{object{"family": "Smith"}}},
		"another birthday": {"name": []any{object{"family": "Fisher"}}, "birthDate": "1961-02-03"},
	} {
		m, x := newMemory(), small(t)
		patient["resourceType"], patient["id"] = "Patient", "theirs"
		patient["identifier"] = []any{object{"system": SystemNHS, "value": "9434765919"}}
		m.all["Patient"] = []object{patient}
		u, err := x.Upload(PlanOptions{Batch: 200}, nil) // everything would fit one transaction
		must(t, err)
		must(t, sender(t, serve(t, m), &wire{}).Run(t.Context(), u))
		refused := u.Status().Refused
		if len(refused) != 1 || x.index.items[refused[0].Entry].Patient == nil || !strings.Contains(refused[0].Reason, "check the number") {
			t.Errorf("%s: refused are %+v", name, refused)
		}
		for kind, all := range m.all {
			for _, r := range all {
				if raw, err := encode(r); err != nil || kind != "Patient" && strings.Contains(string(raw), "Patient/theirs") {
					t.Errorf("%s: a %s was put to the wrong patient", name, kind)
				}
			}
		}
	}
}

// The record's own patient of the same name is used, and not made again.
func TestUploadKnownPatient(t *testing.T) {
	m, x := newMemory(), small(t)
	m.all["Patient"] = []object{{"resourceType": "Patient", "id": "theirs", "identifier": []any{object{"system": SystemNHS, "value": "9434765919"}},
		"name": []any{object{"family": "FISHER"}}, "birthDate": "1951-02-03", "gender": "male"}}
	u := upload(t, x, nil)
	must(t, sender(t, serve(t, m), &wire{}).Run(t.Context(), u))
	whole(t, x, u)
	m.census(t, x)
}

// Two patients of one number in the record: a person has to merge them first.
func TestUploadTwoPatients(t *testing.T) {
	m, x := newMemory(), small(t)
	one := object{"resourceType": "Patient", "id": "one", "identifier": []any{object{"system": SystemNHS, "value": "9434765919"}}}
	m.all["Patient"] = []object{one, {"resourceType": "Patient", "id": "two", "identifier": one["identifier"]}}
	u := upload(t, x, nil)
	must(t, sender(t, serve(t, m), &wire{}).Run(t.Context(), u))
	if r := u.Status().Refused; len(r) != 1 || !strings.Contains(r[0].Reason, "merged") {
		t.Errorf("refused are %+v", r)
	}
}

// A message that was erased before its transfer is named by what points at it; a file that was erased meanwhile holds up nothing else.
func TestUploadErased(t *testing.T) {
	m := newMemory()
	gone := false
	in := incident(slices.DeleteFunc(scene(t), func(in Item) bool { return in.Message.Kind() == message.KindAlert })...)
	x, err := New(in, Sources{Attachment: func(id ledger.ID) (io.ReadCloser, error) {
		if gone {
			return nil, os.ErrNotExist
		}
		gone = true
		return files().Attachment(id)
	}})
	must(t, err)
	u := upload(t, x, nil)
	must(t, sender(t, serve(t, m), &wire{}).Run(t.Context(), u))
	s := u.Status()
	if len(s.Refused) != 1 || x.index.items[s.Refused[0].Entry].Message.Kind() != message.KindAttachment || s.Transferred != x.Messages()-1 {
		t.Errorf("%+v", s)
	}
}

// What later messages change is replaced where it stands.
func TestUploadLater(t *testing.T) {
	m := newMemory()
	endpoint := serve(t, m)
	items := scene(t)
	early := slices.DeleteFunc(slices.Clone(items), func(in Item) bool {
		k := in.Message.Kind()
		return k == message.KindTaskUpdate || k == message.KindRetract || k == message.KindAlertCancel
	})
	for i := range early {
		early[i].Standing = Standing{}
	}
	x, err := New(incident(early...), files())
	must(t, err)
	var kept []Receipt
	c := sender(t, endpoint, &wire{})
	c.Saved = func(news []Receipt) error { kept = append(kept, news...); return nil }
	must(t, c.Run(t.Context(), upload(t, x, nil)))
	if m.all["Task"][0]["status"] != "requested" {
		t.Fatalf("the task is %v", m.all["Task"][0]["status"])
	}
	x, err = New(incident(items...), files())
	must(t, err)
	u := upload(t, x, kept)
	must(t, sender(t, endpoint, &wire{}).Run(t.Context(), u))
	whole(t, x, u)
	m.census(t, x, 2)
	states := map[any]int{}
	for _, kind := range []string{"Task", "Communication", "CommunicationRequest"} {
		for _, r := range m.all[kind] {
			states[kind+" "+str(r, "status")]++
		}
	}
	if states["Task completed"] != 1 || states["Communication entered-in-error"] != 1 || states["CommunicationRequest revoked"] != 1 {
		t.Errorf("the record has %v", states)
	}
}

func TestUploadExercise(t *testing.T) {
	in := incident(scene(t)...)
	in.Mode = message.Exercise
	x, err := New(in, files())
	must(t, err)
	if _, err := x.Upload(PlanOptions{}, nil); !errors.Is(err, ErrExercise) {
		t.Errorf("an exercise may go into the record: %v", err)
	}
}

// Patient data goes to the address that was given and to no other, over TLS, with a token that nobody else can read.
func TestClientGuards(t *testing.T) {
	for _, s := range []string{"", "record.nhs.example", "http://record.nhs.example/fhir", "https://user:secret@record.nhs.example/", "ftp://x/", "https://x/?a=b"} {
		if CheckURL(s) == nil {
			t.Errorf("%q was taken", s)
		}
	}
	for _, s := range []string{"https://record.nhs.example/fhir/R4", "http://127.0.0.1:8080/fhir"} {
		must(t, CheckURL(s))
	}
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte("secret-token\n"), 0o644))
	if _, err := TokenFile(path)(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a token that others can read: %v", err)
	}
	must(t, os.Chmod(path, 0o600))
	var sent string
	endpoint := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Authorization")
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	client, err := NewHTTP(TLS{}, time.Minute)
	must(t, err)
	c := sender(t, endpoint, &wire{})
	c.HTTP, c.Token = client, TokenFile(path)
	if err := c.Run(t.Context(), upload(t, small(t), nil)); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("a redirection: %v", err)
	}
	if sent != "Bearer secret-token" {
		t.Errorf("Authorization: %q", sent)
	}
}

// The whole way to a real endpoint and back: uploaded, uploaded again, read back by search, and proved from what it returns.
func TestRealEndpoint(t *testing.T) {
	endpoint := medplum(t)
	w := newWorld(t)
	items := scenes(t, w.nodes[0].writer, w.nodes[1].writer)
	x, err := New(incident(items...), w.witnessed())
	must(t, err)
	for range 2 {
		u := upload(t, x, nil)
		must(t, sender(t, endpoint, &wire{}).Run(t.Context(), u))
		whole(t, x, u)
	}
	some := faults()[2:4] // TestRealEndpointInterrupted has the others, at every request
	for _, f := range some {
		u := upload(t, x, nil)
		must(t, sender(t, endpoint, &wire{at: 7, fault: f}).Run(t.Context(), u))
		whole(t, x, u)
	}
	back := readBack(t, endpoint, x)
	report, err := VerifyPackage(strings.NewReader(back), w.trust)
	must(t, err)
	if report.Proved == 0 || report.Bare > 0 || len(report.Faults) > 0 {
		t.Errorf("what the endpoint returns is not proved: %+v", report)
	}
	proofs := 0
	for id, file := range proofsIn(t, back) {
		p, err := ledger.ParseProof(file)
		must(t, err)
		policy, err := torchwood.ParsePolicy([]byte(p.Policy()))
		must(t, err)
		tlogProof, err := p.TlogProof()
		must(t, err)
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(p.Header), tlogProof); err != nil {
			t.Errorf("torchwood on the proof of %s: %v", id, err)
		}
		if proofs++; proofs == 1 {
			followPage(t, w, file)
		}
	}
	if proofs != report.Proved {
		t.Errorf("%d proofs came back, want %d", proofs, report.Proved)
	}
	t.Logf("%d messages uploaded %d times, read back by search and proved: %d", x.Messages(), 2+len(some), report.Proved)
}

// readBack searches for every resource, finds each once, and returns them all in one Bundle.
func readBack(t *testing.T, endpoint string, x *Export) string {
	t.Helper()
	var all []string
	for e, err := range x.all() {
		must(t, err)
		kind, query := e.Resource.Kind(), ""
		if kind == "Composition" { // the document's; an upload has its own
			e, err = x.part(func(*item) bool { return false })
			must(t, err)
		}
		switch {
		case e.Request.IfNoneExist != "":
			query = e.Request.IfNoneExist
		case strings.Contains(e.Request.URL, "?"):
			_, query, _ = strings.Cut(e.Request.URL, "?")
		}
		address := endpoint + "/" + kind + "?" + query
		if query == "" {
			address = endpoint + "/" + e.Request.URL
		}
		resp, err := http.Get(address)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		must(t, err)
		if query == "" {
			all = append(all, `{"resource":`+string(body)+`}`)
			continue
		}
		found := 0
		must(t, readBundle(strings.NewReader(string(body)), func(string, any) {}, func(raw json.RawMessage) error { found++; all = append(all, string(raw)); return nil }))
		if found != 1 {
			t.Errorf("the endpoint holds %d of a %s", found, kind)
		}
	}
	return `{"resourceType":"Bundle","type":"collection","entry":[` + strings.Join(all, ",") + `]}`
}

// proofsIn are the proof files of a Bundle, by entry.
func proofsIn(t *testing.T, bundle string) map[string][]byte {
	t.Helper()
	k := newKeep()
	must(t, readBundle(strings.NewReader(bundle), func(string, any) {}, k.entry))
	out := make(map[string][]byte)
	for url, id := range k.names {
		if file, ok := k.data[url]; ok {
			out[id] = file
		}
	}
	return out
}

// followPage does what docs/verify-without-tocsin.md says, up to the library of others, with openssl and a shell.
func followPage(t *testing.T, w *world, proof []byte) {
	t.Helper()
	page, err := os.ReadFile("../../docs/verify-without-tocsin.md")
	must(t, err)
	script := ""
	for _, block := range regexp.MustCompile("(?ms)^```bash\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(block[1], "go run") {
			script += block[1]
		}
	}
	dir := t.TempDir()
	var certs []byte
	for _, a := range w.authorities {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})...)
	}
	must(t, os.WriteFile(filepath.Join(dir, "authorities.pem"), certs, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "note.tocsin-proof"), proof, 0o600))
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "7 ok") {
		t.Errorf("openssl on what the endpoint returned: %v\n%s", err, out)
	}
}
