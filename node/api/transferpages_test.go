package api

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tocsin/crypto/identity"
	"tocsin/node"
)

// newRecorder starts one real node that is told where the record is, with a group of its own and what was said there.
func newRecorder(t *testing.T, address string, change ...func(*node.Config)) (*machine, string) {
	t.Helper()
	issued := time.Now().Add(-time.Hour)
	const org = "stmarys.nhs.example"
	authority, err := identity.NewAuthority(org, "Authority of "+org, issued, 365*24*time.Hour, rand.Reader)
	must(t, err)
	bundle, err := identity.NewBundle("Test mesh", issued, authority.Certificate())
	must(t, err)
	var meshKey [32]byte
	_, err = rand.Read(meshKey[:])
	must(t, err)
	enrolled := func(name, number string) node.Config {
		return enrol(t, authority, identity.Wish{Person: identity.Person{Org: org, Regulator: "gmc", Number: number}, Claims: identity.Claims{Name: name, Roles: []string{"registrar"}}},
			identity.Grant{Now: issued, Validity: 30 * 24 * time.Hour, Roles: []string{"registrar"}, Bundle: bundle, MeshKey: meshKey})
	}
	ben := startMachine(t, enrolled("Ben Carter", "7654321"), false)
	cfg := enrolled("Amara Okafor", "1234567")
	cfg.Static, cfg.Record = ben.Status().Addrs, &node.RecordEndpoint{URL: address, HTTP: http.DefaultClient}
	for _, f := range change {
		f(&cfg)
	}
	m := startMachine(t, cfg, false)
	m.api.cfg.Record = address
	c := m.dial(t)
	eventually(t, say("Ben is known"), func() bool {
		people, err := c.People(t.Context())
		must(t, err)
		return len(people) == 2 && people[0].Ready && people[1].Ready
	})
	g, err := c.CreateGroup(t.Context(), node.GroupSpec{Kind: "team", Name: "Theatre one", Members: []string{"Ben Carter"}})
	must(t, err)
	for _, text := range []string{"Potassium 6.9, repeat at two", "Patient is in theatre one", hostile} {
		_, err := c.Send(t.Context(), g.ID, SendText{Text: text, Priority: "routine"})
		must(t, err)
	}
	return m, g.ID
}

// TestTransferPages goes the way of messages into the record, on a real node: review, a wrong number, sign-off, an endpoint that lets nobody in,
// a file, a hold, and how long they are kept.
func TestTransferPages(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(endpoint.Close)
	m, group := newRecorder(t, endpoint.URL)
	b := newTab(t, newBrowser(t), m)
	b.enter(m)
	b.at("/")
	b.settled()
	b.open("/transfer")
	b.wait("the queue has the group", `document.querySelector('#groups h2')?.textContent === 'Theatre one' && document.querySelector('#groups').textContent.includes('3 to review')`)
	b.shots("transfer", "/transfer")
	path := "/c/" + group + "/transfer"
	b.press("#groups a")
	b.at(path)
	b.review()
	b.signOff()
	b.press(`[data-key="send"]`)
	b.confirm(machinePassphrase)
	b.wait("it says why it stopped", `document.getElementById('steps').textContent.includes('It stopped: the endpoint does not let us in')`)
	b.keeping()
	b.erasing()
	file := b.saveRecord()
	if !strings.HasPrefix(file, `{"resourceType":"Bundle"`) || !strings.Contains(file, "9990000018") {
		t.Errorf("the file begins %.60s", file)
	}
	b.shots("handover", path)
	b.fits("/transfer", path)
	t.Run("axe", func(t *testing.T) {
		source := axeCore(t)
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			for _, p := range []string{"/transfer", path} {
				b.open(p)
				b.settled()
				b.axe(scheme, p, source)
			}
		}
	})
	if value[bool](b, `Boolean(window.hacked) || document.querySelector('.picks img, .picks script, .picks a') !== null`) {
		t.Error("a message became more than text")
	}
}

// review: a number that is none is refused before it is sent; the others are about nobody.
func (b *tab) review() {
	b.t.Helper()
	b.wait("there are three to review", `document.querySelectorAll('#review-open input').length === 3 && document.querySelector('[data-key="attribute"]').disabled`)
	b.press("#review-open li:nth-child(1) input")
	b.press("#review-open li:nth-child(2) input")
	b.wait("the button says two", `document.querySelector('[data-key="attribute"]').textContent === '2 messages about a patient'`)
	b.press(`[data-key="attribute"]`)
	b.wait("it asks for the patient", `document.querySelector('dialog[open] #nhs-number') !== null`)
	b.do("a wrong number", chromedp.SendKeys("#nhs-number", "999 000 0019\r"))
	b.wait("is said to be wrong", `document.getElementById('nhs-error').textContent.startsWith('The check digit does not fit')`)
	b.shotsHere("patient")
	b.do("the right one", chromedp.SetValue("#nhs-number", "999 000 0018"))
	b.press("dialog[open] button.main")
	b.wait("one is left", `document.querySelectorAll('#review-open input').length === 1`)
	b.press("#review-open input")
	b.press(`[data-key="nobody"]`)
	b.wait("all are reviewed", `document.querySelector('[data-key="reviewed"] summary')?.textContent === 'Reviewed: 3' && document.querySelector('.picks').textContent.includes('About ')`)
}

func (b *tab) signOff() {
	b.t.Helper()
	b.press(`[data-key="sign"]`)
	b.confirm("no such passphrase at all")
	b.wait("a wrong passphrase", `document.getElementById('again-error').textContent.startsWith('This is not the passphrase')`)
	b.confirm(machinePassphrase)
	b.wait("three are signed off, by name", `document.querySelector('[data-key="signed"] summary')?.textContent === 'Signed off: 3' && document.getElementById('steps').textContent.includes('Signed off by Amara Okafor')`)
}

// keeping: a hold with its reason, ended with another; and the days.
func (b *tab) keeping() {
	b.t.Helper()
	b.press(`[data-key="hold"]`)
	b.wait("it asks why", `document.querySelector('dialog[open] #hold-reason') !== null`)
	b.press("dialog[open] button.main")
	b.wait("is asked for", `document.getElementById('hold-error').textContent === 'Say why it is held.'`)
	b.do("a reason", chromedp.SetValue("#hold-reason", "Inquiry 2026/17"))
	b.press("dialog[open] button.main")
	b.confirm(machinePassphrase)
	b.wait("it is held", `document.querySelector('.holds')?.textContent.includes('Inquiry 2026/17')`)
	b.press(`[data-key="days"]`)
	b.wait("it asks for the days", `document.querySelector('dialog[open] textarea') !== null`)
	b.do("sixty", chromedp.SetValue("dialog[open] textarea", "60"))
	b.press("dialog[open] button.main")
	b.confirm(machinePassphrase)
	b.wait("it is sixty days", `document.querySelector('[aria-labelledby="keep-title"]').textContent.includes('60 days')`)
}

// erasing: an order needs a message and a reason, and stands in the log; what is held, or in no record yet, stays.
func (b *tab) erasing() {
	b.t.Helper()
	b.press(`[data-key="erase-list"] summary`)
	b.wait("nothing is chosen", `document.querySelectorAll('#erase-list input').length === 3 && document.querySelector('[data-key="erase"]').disabled`)
	b.press("#erase-list li:nth-child(1) input")
	b.wait("one is chosen", `document.querySelector('[data-key="erase"]').textContent === 'Have 1 message erased'`)
	b.press(`[data-key="erase"]`)
	b.wait("it asks why", `document.querySelector('dialog[open] textarea') !== null`)
	b.press("dialog[open] button.alarm")
	b.wait("is asked for", `document.querySelector('dialog[open] .error').textContent === 'Say why. It stands in the log.'`)
	b.do("a reason", chromedp.SetValue("dialog[open] textarea", "Said to the wrong group"))
	b.press("dialog[open] button.alarm")
	b.confirm(machinePassphrase)
	b.wait("the order is on its way", `document.getElementById('news').textContent === 'The order is on its way' && document.querySelectorAll('#erase-list input').length === 3`)
}

// saveRecord saves the file, which asks who is there first.
func (b *tab) saveRecord() string {
	b.t.Helper()
	b.press(`[data-key="export"]`)
	b.wait("it asks who is there", `document.querySelector('dialog[open] #again') !== null`)
	b.do("answering", chromedp.SetValue("#again", machinePassphrase))
	return string(b.saves("dialog[open] button.main", "Theatre-one.json"))
}

// TestSettlePage: where those who run an incident say both that it is live and that it is an exercise, the board says so, and one of them settles it on
// the page of the record, with a reason and the passphrase.
func TestSettlePage(t *testing.T) {
	m, _ := newRecorder(t, "http://127.0.0.1:1", func(cfg *node.Config) { cfg.Unsafe.NoRules = true })
	c := m.dial(t)
	g, err := c.CreateGroup(t.Context(), node.GroupSpec{Kind: "incident", Name: "Mill Lane"})
	must(t, err)
	for _, mode := range []string{"exercise", "live"} {
		_, err := c.Send(t.Context(), g.ID, SendText{Kind: "incident", Priority: "urgent", Fields: map[string][]string{"name": {"Mill Lane"}, "mode": {mode}, "state": {"declared"}}})
		must(t, err)
	}
	b := newTab(t, newBrowser(t), m)
	b.enter(m)
	b.at("/")
	b.settled()
	b.open("/c/" + g.ID + "/incident")
	b.wait("the board says both", `document.getElementById('board').textContent.includes('Live or exercise?') && document.querySelector('#board a[href$="/transfer"]') !== null`)
	b.open("/c/" + g.ID + "/transfer")
	b.press(`[data-key="settle-live"]`)
	b.wait("it asks why", `document.querySelector('dialog[open] textarea') !== null`)
	b.press("dialog[open] button.main")
	b.wait("nothing is settled", `document.querySelector('dialog[open] .error').textContent === 'Say why.'`)
	b.do("because", chromedp.SetValue("dialog[open] textarea", "The bus came"))
	b.press("dialog[open] button.main")
	b.confirm(machinePassphrase)
	b.wait("it is settled", `document.getElementById('settle-title') === null && document.getElementById('steps').textContent.includes('The bus came')`)
	b.open("/c/" + g.ID + "/incident")
	b.wait("the board says who settled it", `document.getElementById('board').textContent.includes('Amara Okafor settled that it is live')`)
}
