package api

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tocsin/node"
)

// ward is an incident of two clinicians on two real nodes, each with a page.
type ward struct {
	t          *testing.T
	amara, ben *machine
	a, b       *tab
	group      string
}

// newWard starts it: both are unlocked and in, and Amara runs the group.
func newWard(t *testing.T, browser context.Context, mode string) *ward {
	t.Helper()
	amara, ben := newMachines(t)
	must(t, amara.Unlock(t.Context(), []byte(machinePassphrase)))
	w := &ward{t: t, amara: amara, ben: ben, a: newTab(t, browser, amara), b: newTab(t, browser, ben)}
	eventually(t, say("Ben is known"), func() bool {
		people, err := amara.People()
		must(t, err)
		return len(people) == 2 && people[0].Ready && people[1].Ready
	})
	g, err := amara.dial(t).CreateGroup(t.Context(), node.GroupSpec{Kind: "incident", Name: "Bus crash A6", Members: []string{"Ben Carter"}})
	must(t, err)
	w.group = g.ID
	w.send(amara, "incident", "urgent", url.Values{"name": {"Bus crash A6"}, "mode": {mode}, "state": {"declared"}})
	eventually(t, say("Ben knows the incident"), func() bool {
		board, err := ben.dial(t).Board(t.Context(), w.group)
		return err == nil && board.Incident != nil
	})
	w.a.enter(amara)
	w.b.enter(ben)
	for _, p := range []*tab{w.a, w.b} {
		p.at("/")
		p.settled()
	}
	return w
}

// send says something from a machine, past its page.
func (w *ward) send(from *machine, kind, priority string, fields url.Values) string {
	w.t.Helper()
	s, err := from.dial(w.t).Send(w.t.Context(), w.group, SendText{Kind: kind, Priority: priority, Fields: fields})
	if err != nil {
		w.t.Fatalf("%s: %v", kind, err)
	}
	return s.ID
}

func (w *ward) path(rest string) string { return "/c/" + w.group + rest }

// person is the address of whom a machine belongs to.
func (m *machine) person() string { return "person:" + m.Status().Person }

// board opens a board and waits until it shows something.
func (b *tab) board(path string) {
	b.t.Helper()
	b.open(path)
	b.wait("the board is drawn", `document.getElementById('board')?.children.length > 0 && document.getElementById('where').textContent !== '' && document.getElementById('who').textContent !== ''`)
}

// fill puts a value into a field as somebody who types it does.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.do("filling "+selector, chromedp.SetValue(selector, text))
	value[bool](b, fmt.Sprintf(`document.querySelector(%q).dispatchEvent(new Event('input', { bubbles: true })), true`, selector))
}

// press clicks in the middle of the screen, where nothing that sticks to an edge of the page lies over it, until what was meant was hit: a page
// that is still being drawn moves between the look and the click.
func (b *tab) press(selector string) {
	b.t.Helper()
	aim := fmt.Sprintf(`document.querySelector(%[1]q)?.checkVisibility() && (document.querySelector(%[1]q).scrollIntoView({ block: 'center', behavior: 'instant' }),
		window.presses ??= (document.addEventListener('click', (e) => { if (e.target.closest?.(window.presses.at)) window.presses.hit = true; }, true), {}),
		Object.assign(window.presses, { at: %[1]q, hit: false }), true)`, selector)
	var last error
	eventually(b.t, func() string { return fmt.Sprintf("pressing %s (%v)\n%s", selector, last, b.look()) }, func() bool {
		b.wait("there is "+selector, aim)
		ctx, cancel := context.WithTimeout(b.ctx, stepPatience)
		defer cancel()
		// What is drawn anew between being found and being pressed is looked for again.
		if last = chromedp.Do(ctx, chromedp.Click(selector)); last != nil {
			if !strings.Contains(last.Error(), "Could not find node with given id") {
				b.t.Fatalf("pressing %s: %v\n%s", selector, last, b.look())
			}
			return false
		}
		// Where the press leads away from the page nobody is left to ask.
		hit, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.presses?.hit !== false`))
		return err != nil || hit
	})
}

// choose picks an option of a list by its value.
func (b *tab) choose(selector, option string) {
	b.t.Helper()
	b.wait("there is "+option, fmt.Sprintf(`[...(document.querySelector(%q)?.options ?? [])].some(o => o.value === %q)`, selector, option))
	value[bool](b, fmt.Sprintf(`(s => { s.value = %q; s.dispatchEvent(new Event('change', { bubbles: true })); return true; })(document.querySelector(%q))`, option, selector))
}

// TestClinicalPages goes through an exercise on two real nodes: forms, boards, a call-out, an alert, roles and the search.
func TestClinicalPages(t *testing.T) {
	w := newWard(t, newBrowser(t), "exercise")
	w.marked()
	w.report()
	w.callOut()
	w.casualties()
	w.task()
	w.alert()
	w.decide()
	w.duty()
	w.look()
	w.knock()
	w.quiet()
	w.everybody()
	w.takeOut()
	for _, p := range w.pages() {
		w.a.shots("page"+strings.ReplaceAll(strings.TrimPrefix(p, w.path("")), "/", "-"), p)
	}
	w.a.fits(w.pages()...)
	t.Run("axe", func(t *testing.T) { w.accessible(t) })
	w.standDown()
}

// marked: an exercise says so in the list, on its pages, in the title, and on pages of no conversation.
func (w *ward) marked() {
	w.t.Helper()
	w.b.wait("the list says so", `document.querySelector('#list .exercise-flag') !== null`)
	w.b.wait("and so does the page", `document.getElementById('exercise').textContent.startsWith('EXERCISE')`)
	for _, path := range []string{"", "/boards", "/say", "/incident"} {
		w.b.open(w.path(path))
		w.b.wait("EXERCISE in the title of "+path, `document.title.startsWith('EXERCISE – ') && document.getElementById('exercise').textContent === 'EXERCISE. Nothing on this page is real.'`)
	}
	if got := value[string](w.b, `document.title`); got != "EXERCISE – Incident – Tocsin" {
		w.t.Errorf("title %q", got)
	}
}

// report: a form by the keyboard; what is missing is said at its field; what stands is brought up to date.
func (w *ward) report() {
	w.t.Helper()
	a := w.a
	a.open(w.path("/say/methane#board=1"))
	a.wait("the form is there", `document.activeElement?.name === 'f-major'`)
	a.do("the first choice with the keyboard", chromedp.KeyEvent(" "))
	for _, text := range []string{"A6 junction 12", "Coach against lorry", "Diesel", "From the north"} {
		a.do("typing "+text, chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(text))
	}
	a.press("#send")
	a.wait("what is missing is said where it is", `document.getElementById('f-casualties-error').textContent.includes('is missing') && document.activeElement.id === 'f-casualties'`)
	a.fill("#f-casualties", "About thirty, four trapped")
	a.fill("#f-emergency-services", "Two crews here, ten more asked for")
	a.press("#send")
	a.at(w.path("/incident"))
	for _, p := range []*tab{a, w.b} {
		p.board(w.path("/incident"))
		p.wait("the report stands on the board", `[...document.querySelectorAll('.said dd')].some(d => d.textContent === 'A6 junction 12')`)
	}
	w.b.press(`a[href*="supersedes"]`)
	w.b.wait("the new report points at the old", `document.getElementById('f-supersedes')?.value.length === 64`)
	w.b.press(`label.pill input[value=declared]`)
	for name, text := range map[string]string{"location": "A6 junction 12, south", "type": "Coach", "hazards": "None known", "access": "North only", "casualties": "Thirty-one", "emergency-services": "Enough"} {
		w.b.fill("#f-"+name, text)
	}
	w.b.press("#send")
	w.b.at(w.path("/incident"))
	a.wait("what it replaces stands under it", `document.querySelector('.said dd + dt + dd')?.textContent === 'A6 junction 12, south' && document.querySelector('[data-key=before]') !== null`)
}

// callOut: asked once, answered with one press, tallied, closed.
func (w *ward) callOut() {
	w.t.Helper()
	a, b := w.a, w.b
	a.open(w.path("/say/call-out#board=1"))
	a.wait("the form", `document.activeElement?.id === 'f-question'`)
	a.fill("#f-question", "Can you come in?")
	a.fill("#f-place", "ED ambulance entrance")
	a.fill("#f-skills", "nurse\nparamedic")
	a.fill("#f-needed", "2")
	a.press("#priority input[value=urgent]")
	a.press("#send")
	a.at(w.path("/call-outs"))
	a.wait("who asks has no answer to give", `document.querySelector('.callout') !== null && document.querySelector('.etas') === null`)
	b.board(w.path("/call-outs"))
	b.wait("the answers are there", `document.querySelectorAll('.etas button').length === 7`)
	b.choose(".answer select", "paramedic")
	b.shotsHere("call-out")
	b.press(".etas button:nth-child(2)")
	b.wait("the answer is said", `document.querySelector('.answered')?.textContent.startsWith('You are coming, there by ') && document.querySelector('.answered').textContent.includes('as paramedic')`)
	a.wait("the tally is live", `document.querySelector('.tally .good dd').textContent === '1 of 2'
		&& [...document.querySelectorAll('.bars tr')].some(r => r.textContent.startsWith('15 to 30 min1')) && [...document.querySelectorAll('.bars tr')].some(r => r.textContent.startsWith('paramedic1'))`)
	a.shotsHere("tally")
	a.press("[data-key^=enough]")
	a.press("dialog[open] button.main")
	b.wait("the others stand by", `document.querySelector('.enough') !== null && document.querySelector('.etas') === null`)
	b.open(w.path(""))
	b.wait("no answer stands in the conversation", `document.querySelectorAll('.message').length >= 3 && ![...document.querySelectorAll('.message')].some(m => m.querySelector('.kindname')?.textContent === 'Answer to a call-out')`)
}

// casualties: a colour always has its word; an update keeps what was known.
func (w *ward) casualties() {
	w.t.Helper()
	b := w.b
	b.open(w.path("/say/casualty#board=1"))
	b.wait("the form", `document.activeElement?.id === 'f-tag'`)
	b.fill("#f-tag", "a-017")
	b.press("label.pill.p2 input")
	b.fill("#f-location", "Bay 2")
	b.shotsHere("form")
	b.press("#send")
	b.at(w.path("/casualties"))
	b.wait("it is on the board with its words", `document.querySelector('.casualty .triage-mark')?.textContent === 'P2 urgent (yellow)' && document.querySelector('.casualty h2').textContent === 'A-017'`)
	b.press(".casualty a.button")
	b.wait("what is known is filled in", `document.getElementById('f-location')?.value === 'Bay 2' && document.querySelector('input[value=p2]').checked`)
	b.press("label.pill.p1 input")
	b.press("#send")
	b.at(w.path("/casualties"))
	w.a.board(w.path("/casualties"))
	w.a.wait("it is brought up to date", `document.querySelectorAll('.casualty').length === 1 && document.querySelector('.casualty.p1')?.textContent.includes('said 2 times') && document.querySelector('.triage-tile.p1 dd').textContent === '1'`)
	w.send(w.ben, "casualty", "routine", url.Values{"tag": {"A-018"}, "triage": {"p3"}, "age": {"about 40"}, "going": {"Minors"}})
	w.send(w.ben, "casualty", "routine", url.Values{"tag": {"A-019"}, "triage": {"deceased"}})
	w.a.wait("all are counted", `document.querySelectorAll('.casualty').length === 3`)
	w.a.shotsHere("casualties")
}

// task: for one person, who accepts it, declines with a reason, and the board says so on both sides.
func (w *ward) task() {
	w.t.Helper()
	a, b := w.a, w.b
	a.open(w.path("/say/task#board=1"))
	a.wait("the form", `document.activeElement?.id === 'f-what'`)
	a.fill("#f-what", "Open theatre 4")
	a.choose("#f-to", w.ben.person())
	a.press("#send")
	a.at(w.path("/tasks"))
	b.board(w.path("/tasks"))
	b.press(".task button.main")
	b.wait("it is accepted", `document.querySelector('.task')?.dataset.state === 'accepted'`)
	a.wait("on the other side too", `document.querySelector('.task .badge')?.textContent === 'Accepted'`)
	b.shotsHere("task")
	b.press(".task .row button:nth-child(3)")
	b.press("dialog[open] button.main")
	b.wait("a reason is asked for", `document.querySelector('dialog[open] .error').textContent.startsWith('Say why')`)
	b.do("the reason", chromedp.SendKeys("dialog[open] textarea", "Theatre 4 has no power"))
	b.press("dialog[open] button.main")
	a.wait("it is declined", `document.querySelector('.task')?.dataset.state === 'declined'`)
}

// alert: it is on every page until somebody acknowledges, and on a locked one without a word of it.
func (w *ward) alert() {
	w.t.Helper()
	a, b := w.a, w.b
	b.open("/people")
	b.wait("no alert", `document.getElementById('calls')?.hidden`)
	id := w.send(w.amara, "alert", "stat", url.Values{"what": {"Cardiac arrest"}, "where": {"Ward 3, bed 4"}, "to": {w.ben.person(), "role:chief"}})
	b.wait("it is on a page of something else", `document.querySelector('#calls .calling.loud')?.textContent.includes('Cardiac arrest')`)
	b.wait("a screen reader is told", `document.getElementById('calls-news').textContent.includes('Cardiac arrest')`)
	b.shotsHere("alert")
	a.board(w.path("/alerts"))
	a.wait("who raised it can cancel and not acknowledge", `document.querySelector('#calls .calling:not(.loud) .button') !== null && document.querySelector('#calls [data-key^=call]') === null && document.querySelector('[data-key^=end]') !== null`)
	a.shotsHere("alerts")
	b.press("#calls [data-key^=call]")
	for _, p := range []*tab{a, b} {
		p.wait("it is over", `document.getElementById('calls').hidden`)
	}
	a.wait("the board says so", `document.querySelector('.alert-card')?.textContent.includes('Acknowledged')`)
	if board, err := w.amara.dial(w.t).Board(w.t.Context(), w.group); err != nil || board.Alerts[0].Message.ID != id || board.Alerts[0].Acknowledged != 1 {
		w.t.Errorf("%+v, %v", board.Alerts, err)
	}
}

// decide: the log, a correction, and the document.
func (w *ward) decide() {
	w.t.Helper()
	a := w.a
	a.open(w.path("/say/decision#board=1"))
	a.wait("the decider and the time are filled in", fmt.Sprintf(`document.getElementById('f-decider')?.value === %q && document.getElementById('f-at').value !== ''`, w.amara.person()))
	a.fill("#f-decision", "Divert walking wounded to St Luke")
	a.fill("#f-rationale", "Minors is full")
	a.fill("#f-options", "Divert\nDo nothing")
	a.press("#send")
	a.at(w.path("/decisions"))
	a.wait("it is number 1", `document.querySelector('.decision h2')?.textContent === '1. Divert walking wounded to St Luke'`)
	a.press(".decision .row a")
	a.wait("the correction points at it", `document.getElementById('f-corrects')?.value.length === 64`)
	a.fill("#f-decision", "Divert walking wounded to St Mary")
	a.fill("#f-rationale", "St Luke has no power")
	a.fill("#f-options", "Divert\nDo nothing")
	a.press("#send")
	a.at(w.path("/decisions"))
	a.wait("both stand", `document.querySelectorAll('.decision').length === 2 && document.querySelector('.decision.past .gone').textContent === 'Corrected by number 2'`)
	a.shotsHere("decisions")
	document := string(a.saves("[data-key=print]", "decision log.html"))
	for _, want := range []string{"EXERCISE", "Divert walking wounded to St Luke", "Divert walking wounded to St Mary", "Amara Okafor"} {
		if !strings.Contains(document, want) {
			w.t.Errorf("the printed log lacks %q", want)
		}
	}
}

// duty: a role is taken, handed over and taken, and what is addressed to it says who holds it.
func (w *ward) duty() {
	w.t.Helper()
	a, b := w.a, w.b
	a.board(w.path("/duty"))
	a.press("#acts button")
	a.do("which", chromedp.SendKeys("#take-role", "Medical Registrar"))
	a.press("dialog[open] button.main")
	a.wait("it is hers", `document.querySelector('.duty h2')?.textContent === 'medical registrar' && document.querySelector('.duty .badge')?.textContent === 'You'`)
	a.press("[data-key=over-medical-registrar]")
	a.choose("#hand-to", w.ben.person())
	a.press("dialog[open] button.main")
	b.board(w.path("/duty"))
	b.press("[data-key=take-medical-registrar]")
	b.press("dialog[open] button.main")
	b.wait("it is his", `document.querySelector('.duty .badge')?.textContent === 'You'`)
	a.wait("and hers no more", `document.querySelector('.duty') !== null && document.querySelector('.duty .badge') === null`)
	a.shotsHere("duty")
	a.open(w.path(""))
	a.wait("loaded", `document.querySelectorAll('.message').length > 3`)
	a.press("#to summary")
	a.choose("#to-whom", "role:medical-registrar")
	a.sendByMouse("Please come to resus.", "routine")
	b.open(w.path(""))
	b.wait("it says for whom", `[...document.querySelectorAll('.message .for.me')].some(p => p.textContent === 'For the medical registrar (Ben Carter)')`)
}

// look: what identifies a patient is noticed and replaced, a message is withdrawn, and found.
func (w *ward) look() {
	w.t.Helper()
	a, b := w.a, w.b
	b.do("a draft", chromedp.SendKeys("#text", "Patient 9434765918 and 9434765919 please"))
	b.wait("the NHS number is noticed", `document.querySelector('.composer .found:not([hidden])')?.textContent.includes('an NHS number')`)
	b.shotsHere("conversation")
	b.press(".composer .found button")
	b.wait("one press replaces it and nothing else", `document.getElementById('text').value === 'Patient 9434765918 and [initials, bed] please'`)
	b.do("writing over what stands in", chromedp.KeyEvent("JS bed 4"))
	b.press("#send")
	b.shows("Patient 9434765918 and JS bed 4 please")
	b.press(".message.own:last-child .more summary")
	b.press(".message.own:last-child .more .row button")
	b.do("why", chromedp.SendKeys("dialog[open] textarea", "Wrong patient"))
	b.press("dialog[open] button.main")
	a.wait("it stays, withdrawn", `[...document.querySelectorAll('.message')].some(m => m.querySelector('.gone')?.textContent === 'Withdrawn by its author: Wrong patient' && m.querySelector('.withdrawn'))`)
	a.open("/search")
	a.wait("ready", `document.getElementById('kind')?.options.length > 5`)
	a.do("searching", chromedp.SendKeys("#words", "theatre\r"))
	a.wait("it is found and marked", `document.getElementById('results').children.length === 2 && document.querySelector('#results .exercise-flag') !== null`)
	a.shotsHere("search")
	a.press("#results a")
	a.at(w.path(""))
	a.wait("the message is shown", `document.querySelector('.message.wanted') !== null && document.activeElement === document.querySelector('.message.wanted')`)
}

// knock: a locked page says that something stat came and not a word of it; unlocked, the alert is there, and who raised it can end it.
func (w *ward) knock() {
	w.t.Helper()
	a, b := w.a, w.b
	b.press("#lock")
	b.wait("locked", `location.pathname === '/unlock' && document.getElementById('unlock-form')?.hidden === false`)
	w.send(w.amara, "alert", "stat", url.Values{"what": {"Zebra collapsed"}, "where": {"Ward 9"}, "to": {w.ben.person()}})
	b.wait("it knocks", `!document.getElementById('knock').hidden && document.getElementById('knock-words').textContent.startsWith('Something stat has come')`)
	if text := b.look(); strings.Contains(text, "Zebra") || strings.Contains(text, "Ward") || strings.Contains(text, "Amara") {
		w.t.Errorf("a locked page says: %s", text)
	}
	b.shotsHere("locked")
	b.unlockAgain()
	b.wait("what it was", `document.querySelector('#calls .loud')?.textContent.includes('Zebra collapsed')`)
	a.board(w.path("/alerts"))
	a.press("[data-key^=end]")
	a.do("why", chromedp.SendKeys("dialog[open] textarea", "False alarm"))
	a.press("dialog[open] button.main")
	b.wait("it is over", `document.getElementById('calls').hidden`)
}

// quiet: notifications and titles say how urgent and that it is an exercise, never who or what, whatever is sent.
func (w *ward) quiet() {
	w.t.Helper()
	b := w.b
	b.open("/people")
	b.settled()
	value[bool](b, `(() => {
		window.said = [];
		window.Notification = class { static permission = 'granted'; constructor(title, more) { window.said.push(title + ' ' + JSON.stringify(more)); } addEventListener() {} close() {} };
		Object.defineProperty(document, 'visibilityState', { get: () => 'hidden', configurable: true });
		return true; })()`)
	w.send(w.amara, "sbar", "stat", url.Values{"situation": {"Zebra"}, "background": {"Zebra"}, "assessment": {"Zebra"}, "recommendation": {"Zebra"}})
	w.send(w.amara, "atmist", "urgent", url.Values{"age": {"Zebra"}, "sex": {"male"}, "time": {"Zebra"}, "mechanism": {"Zebra"}, "injuries": {"Zebra"}, "signs": {"Zebra"}, "treatment": {"Zebra"}})
	w.send(w.amara, "text", "routine", url.Values{"body": {"Zebra"}})
	b.wait("three are shown", `window.said.length >= 3`)
	said := strings.Join(value[[]string](b, `window.said`), "\n")
	for _, word := range []string{"Zebra", "Amara", "Ben", "Bus"} {
		if strings.Contains(said, word) || strings.Contains(value[string](b, `document.title`), word) {
			w.t.Errorf("a notification or the title holds %q: %s", word, said)
		}
	}
	if strings.Count(said, "EXERCISE – Tocsin") != strings.Count(said, "Tocsin ") || !strings.Contains(said, "A stat message has come.") {
		w.t.Errorf("notifications of an exercise: %s", said)
	}
}

// everybody: past all conversations, with a reason that stands.
func (w *ward) everybody() {
	w.t.Helper()
	b := w.b
	b.open("/everybody")
	b.settled()
	b.press("#form button[type=submit]")
	b.wait("the message is asked for", `document.getElementById('text-error').textContent !== ''`)
	b.do("the message", chromedp.SendKeys("#text", "Block C is on fire"))
	b.press("#form button[type=submit]")
	b.wait("the reason is asked for", `document.getElementById('reason-error').textContent !== '' && document.activeElement.id === 'reason'`)
	b.do("the reason", chromedp.SendKeys("#reason", "No other channel works"))
	b.press("#form button[type=submit]")
	b.press("dialog[open] button.alarm")
	b.wait("it is sent", `!document.getElementById('done').hidden`)
	w.a.open("/c/" + strings.Repeat("0", 64))
	w.a.wait("everybody has it, with the reason", `[...document.querySelectorAll('.message')].some(m => m.textContent.includes('Block C is on fire') && m.querySelector('.doubt')?.textContent === 'To everybody: No other channel works')`)
	w.a.wait("one writes to everybody on the other page", `document.getElementById('composer').hidden`)
}

// takeOut: only who runs the conversation is offered to take somebody out, and is asked whether.
func (w *ward) takeOut() {
	w.t.Helper()
	for _, p := range []*tab{w.a, w.b} {
		p.open(w.path(""))
		p.press(".members summary")
		p.wait("the members", `document.querySelector('.members').open && document.querySelectorAll('#members .name').length === 2`)
	}
	if value[bool](w.b, `document.querySelector('#members .out') !== null`) {
		w.t.Error("a member who does not run the conversation is offered to take others out")
	}
	w.a.press("#members .out")
	w.a.wait("it asks", `document.querySelector('dialog[open] h2').textContent === 'Take Ben Carter out?'`)
	w.a.press("dialog[open] button[type=button]")
	w.a.wait("he stays", `document.querySelector('dialog') === null && document.querySelectorAll('#members .name').length === 2`)
}

// standDown: the incident ends, with a reason, on both pages.
func (w *ward) standDown() {
	w.t.Helper()
	w.b.board(w.path("/incident"))
	if value[bool](w.b, `document.querySelector('[data-key^=move]') !== null`) {
		w.t.Error("a member who does not run the incident is offered to move it on")
	}
	w.a.board(w.path("/incident"))
	w.a.press("[data-key=move-stand-down]")
	w.a.press("dialog[open] button.main")
	w.b.wait("stood down", `document.querySelector('.incident .flag')?.textContent === 'Stood down'`)
}

// accessible runs axe-core over the pages of the conversation: light on a desk, dark on a small screen.
func (w *ward) accessible(t *testing.T) {
	axe, b := axeCore(t), w.a
	outer := b.t
	b.t = t
	defer func() { b.t = outer }()
	for scheme, size := range map[string][2]int64{"light": {1280, 800}, "dark": {320, 640}} {
		b.scheme(scheme)
		b.do("size", chromedp.EmulateViewport(size[0], size[1]))
		for _, path := range w.pages() {
			b.open(path)
			b.settled()
			b.axe(scheme, path, axe)
		}
	}
	b.do("a desk", chromedp.EmulateViewport(1280, 800))
}

// pages are those of a conversation.
func (w *ward) pages() []string {
	paths := []string{w.path(""), "/search", "/everybody"}
	for _, p := range strings.Fields("boards incident call-outs casualties tasks alerts decisions duty say say/methane say/alert say/role") {
		paths = append(paths, w.path("/"+p))
	}
	return paths
}
