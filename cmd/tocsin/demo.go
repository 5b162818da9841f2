package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// storyTime bounds the whole story. Every wait in it has a shorter bound of its
// own. It takes a minute and a half on two cores, of which an alert that nobody
// answers takes one.
const storyTime = 15 * time.Minute

func (a *app) demoCommand() *cobra.Command {
	var exit bool
	var broken, fhir string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play a whole incident on this machine",
		Long: `Play a whole incident on this machine: two hospitals, five clinicians, thirty-six more
who are on call, a node each, and two strangers. Every part is the real one, on loopback
and in a temporary directory that is removed at the end. The five run in processes of
their own, those on call together in one.

It ends with a transfer to the medical record: to a stand-in in this process that takes
anything, or with --fhir to an endpoint of your own, which gets what the demo's clinicians
said. docs/record.md says how to start one.

Every step is checked. After the story the web app of each clinician stays open for
you to try until Ctrl-C; with --exit the demo ends, with exit code 0 only if every
check held.`,
		Example: "  tocsin demo\n  tocsin demo --exit\n  tocsin demo --fhir http://127.0.0.1:8103/fhir",
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if broken != breakTransfer {
				if err := checkUnsafe("--break", broken); err != nil {
					return err
				}
			}
			if err := checkRecordURL(fhir); err != nil {
				return err
			}
			return a.demo(cmd.Context(), exit, broken, fhir)
		},
	}
	cmd.Flags().BoolVar(&exit, "exit", false, "end after the story")
	cmd.Flags().StringVar(&fhir, "fhir", "", "`URL` of a FHIR R4 endpoint to be the medical record (default: a stand-in in this process)")
	cmd.Flags().StringVar(&broken, "break", "", "switch a protection off in every node: the demo must notice")
	cmd.Flag("break").Hidden = true
	return cmd
}

// demo is one run: its narrator, its directory and its processes.
type demo struct {
	*app
	dir    string // removed at the end
	self   string // this program
	broken string // the protection that is off in every node
	cast   []*clinician
	group  string   // id of the incident group, once it is made
	said   []string // the words of every message sent
	number int      // of the step
	title  string   // of the step

	mesh     *meshFiles
	staff    []*colleague // of the call-out; their nodes run in this process
	staffLog *os.File
	fhir     string   // URL of the medical record's endpoint
	standIn  *standIn // of it; nil where an endpoint was named
	alert    string   // id of the alert that nobody answers
	alertAt  time.Time
}

func (a *app) demo(ctx context.Context, exit bool, broken, fhir string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fail(exitFailed, "", "this program cannot find itself: %w", err)
	}
	dir, err := os.MkdirTemp("", "tocsin-demo-")
	if err != nil {
		return fail(exitFailed, "Check the temporary directory and the space on its disk.", "no directory for the demo: %w", err)
	}
	d := &demo{app: a, self: self, dir: dir, broken: broken, cast: theCast(), fhir: fhir}
	defer func() { err = errors.Join(err, d.clear()) }()
	if err := errors.Join(d.startRecord(), d.configure()); err != nil {
		return err
	}
	story, cancel := context.WithTimeoutCause(ctx, storyTime, fmt.Errorf("the story did not end within %s", storyTime))
	defer cancel()
	a.sparing() // thirty-six nodes will run in this process
	started := a.now()
	if err := d.tell(story); err != nil {
		return d.failed(ctx, err)
	}
	if err := d.ending(a.now().Sub(started)); err != nil || exit {
		return err
	}
	return d.stay(ctx)
}

// configure writes the configuration of every process of the demo: nothing goes
// beyond loopback, and no port is fixed.
func (d *demo) configure() error {
	// Nobody who plays with its pages knows the passphrases: its nodes stay unlocked.
	text := "[mesh]\nmdns = false\n\n[api]\nlisten = \"127.0.0.1:0\"\n\n[lock]\nidle = \"never\"\n"
	if d.fhir != "" {
		text += fmt.Sprintf("\n[record]\nurl = %q\nallow_loopback = true\n", d.fhir)
	}
	return writeFile(filepath.Join(d.dir, "config.toml"), []byte(text), 0o600)
}

// tell plays the story, step by step. Each step checks what it says.
func (d *demo) tell(ctx context.Context) error {
	if !d.json {
		d.say("%s", d.style().bold("Tocsin: an incident, played with real nodes on this machine"))
		d.say("%s", d.style().dim("in "+d.dir+", which is removed at the end"))
		d.say("%s", d.style().dim("the medical record is "+d.recordName()))
	}
	for _, step := range d.story() {
		d.number++
		d.title = step.title
		if d.leavesOut(step) {
			continue
		}
		if !d.json {
			d.say("\n%s %s", d.style().bold(fmt.Sprintf("%d.", d.number)), d.style().bold(step.title))
		}
		if err := step.play(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step is one part of the story.
type step struct {
	title string
	play  func(context.Context) error
	// aside: it rehearses the mesh and the disk, and nothing that is said after it rests on it. first: the transfer rests on it.
	aside, first bool
}

// leavesOut says which steps a rehearsal without a rule of the clinical part has
// no use for: whether it is noticed does not depend on them, and they take time.
func (d *demo) leavesOut(s step) bool {
	switch d.broken {
	case unsafeRules, unsafeEscalation:
		return s.aside
	case breakTransfer:
		return s.aside || !s.first
	}
	return false
}

// unsafe is the protection that is off in every node.
func (d *demo) unsafe() string {
	if d.broken == breakTransfer {
		return ""
	}
	return d.broken
}

func (d *demo) story() []step {
	return []step{
		{title: "Two hospitals found a mesh and enrol five clinicians", play: d.enrolCast, first: true},
		{title: "Five nodes find each other", play: d.meet, first: true},
		{title: "A M/ETHANE report comes from the scene, and an incident is declared", play: d.declare},
		{title: "Two strangers knock", play: d.knock, aside: true},
		{title: "One node is cut off, misses messages and comes back", play: d.cutOff, aside: true},
		{title: "One node is killed without warning and restarts whole", play: d.killed, aside: true},
		{title: "One node has no network, and a stick carries messages there and back", play: d.stick, aside: true},
		{title: "Everybody on call is asked once, and forty devices answer", play: d.callOut, aside: d.broken == unsafeEscalation},
		{title: "Casualties are tagged", play: d.casualties},
		{title: "The alert that nobody answered calls the next", play: d.escalated},
		{title: "Decisions are logged and printed", play: d.decide},
		{title: "The exercise is reviewed and written to a file, and stays out of the record", play: d.exported},
		{title: "Messages of a live group go to the medical record, and then leave the devices", play: d.handOver, first: true},
		{title: "All logs verify, and no file holds a readable word", play: d.verifyAll},
	}
}

// told is one line of demo --json.
type told struct {
	Step    int    `json:"step"`
	Title   string `json:"title"`
	Checked string `json:"checked,omitempty"`
	Failed  string `json:"failed,omitempty"`
}

// checked narrates something that was checked and held.
func (d *demo) checked(format string, args ...any) {
	d.line(told{Step: d.number, Title: d.title, Checked: fmt.Sprintf(format, args...)})
}

func (d *demo) line(t told) {
	if d.json {
		b, _ := json.Marshal(t) // strings and a number
		d.out.Write(append(b, '\n'))
		return
	}
	if t.Failed != "" {
		d.say("   %s %s", d.style().red("✗"), printable(t.Failed))
		return
	}
	d.say("   %s %s", d.style().green("✓"), printable(t.Checked))
}

// failed names the step that did not hold.
func (d *demo) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fail(exitFailed, "", "the demo was interrupted in step %d", d.number)
	}
	d.line(told{Step: d.number, Title: d.title, Failed: plainWords(err)})
	next := "Every node of the demo has been stopped, and its directory removed."
	if d.broken != "" {
		next = fmt.Sprintf("The protection %q was switched off, and the demo noticed.", d.broken)
	}
	return fail(exitFailed, next, "step %d failed: %s: %w", d.number, d.title, err)
}

func (d *demo) ending(took time.Duration) error {
	if d.broken != "" {
		return fail(exitFailed, "", "the protection %q was switched off, and no step noticed", d.broken)
	}
	if !d.json {
		d.say("\n%s", d.style().bold(fmt.Sprintf("Every step held (%.0f s).", took.Seconds())))
	}
	return d.out.err
}

// stay prints the web address of each clinician and waits for Ctrl-C.
func (d *demo) stay(ctx context.Context) error {
	if !d.json {
		d.say("\nTry it: each address lets one browser in, within two minutes. 'tocsin open --data DIR' makes another.\n")
	}
	for _, c := range d.cast {
		code, err := c.node.client.WebCode(ctx)
		if err != nil {
			return apiError(err)
		}
		if d.json {
			b, _ := json.Marshal(map[string]string{"name": c.name, "url": code.URL, "data_dir": c.dir}) // strings
			d.out.Write(append(b, '\n'))
			continue
		}
		d.say("  %-14s %s", c.name, code.URL)
		d.say("  %-14s %s", "", d.style().dim("--data "+c.dir))
	}
	if !d.json {
		d.say("\nCtrl-C ends the demo and removes everything.")
	}
	if d.out.err != nil {
		return d.out.err
	}
	<-ctx.Done()
	d.note("")
	return nil
}

// clear ends every process that the demo started and removes its directory.
func (d *demo) clear() error {
	errs := []error{d.endStaff()}
	if d.standIn != nil {
		errs = append(errs, d.standIn.close())
	}
	for _, c := range d.cast {
		if c.node != nil {
			errs = append(errs, c.node.stop())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}
