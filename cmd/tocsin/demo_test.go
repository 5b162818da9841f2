package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"tocsin/node/api"
	"tocsin/node/message"
)

// runDemo runs `tocsin demo --exit` in a temporary directory of its own and
// demands that it leaves nothing behind.
func runDemo(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	temp := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), storyTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, tocsinPath(t), append([]string{"demo", "--exit"}, args...)...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, envPrefix) && !strings.HasPrefix(kv, "HOME=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "TMPDIR="+temp, "HOME="+temp)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind: %v", left, err)
	}
	return code, out.String(), errs.String()
}

// TestDemo plays the whole story.
func TestDemo(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := runDemo(t)
	if code != exitOK || !strings.Contains(stdout, "Every step held") || strings.Count(stdout, "✓") != 42 {
		t.Fatalf("exit code %d:\n%s\n%s", code, stdout, stderr)
	}
}

// notice is a protection, and what the demo says where it notices that it is off, by step.
type notice struct {
	protection string
	says       map[int]string
}

// notices are all of them with TOCSIN_DEMO=all, as .ci/run plays them; else those
// that are noticed early.
func notices() []notice {
	all := []notice{
		{unsafeAdmission, map[int]string{4: "took the stranger in"}},
		// On a machine so slow that devices meet before they have written anything, gossip alone tells some of each
		// other, or all: then what was missed while apart does not come.
		{unsafeSync, map[int]string{2: "of 5 devices", 5: "does not have the message"}},
		{unsafeFsync, map[int]string{6: "is not on the disk"}},
		{unsafeSeal, map[int]string{3: "does not have the message"}},
	}
	if os.Getenv("TOCSIN_DEMO") == "all" {
		all = append(all, notice{unsafeRules, map[int]string{8: "was not refused"}}, notice{unsafeEscalation, map[int]string{10: "has not called the consultant"}},
			notice{breakTransfer, map[int]string{13: "the record refused"}})
	}
	return all
}

// TestDemoNotices switches one protection off after the other: the demo must
// fail, and say in which step.
func TestDemoNotices(t *testing.T) {
	if testing.Short() {
		t.Skip("four demos are not short")
	}
	for _, c := range notices() {
		t.Run(c.protection, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := runDemo(t, "--break", c.protection, "--json")
			var last told
			lines := strings.Split(strings.TrimSpace(stdout), "\n")
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
				t.Fatalf("%v:\n%s\n%s", err, stdout, stderr)
			}
			if says, ok := c.says[last.Step]; code != exitFailed || !ok || !strings.Contains(last.Failed, says) {
				t.Errorf("exit code %d, step %d says %q:\n%s", code, last.Step, last.Failed, stderr)
			}
		})
	}
}

// TestWrongTally: whatever a tally has that was not said, or lacks that was, is noticed.
func TestWrongTally(t *testing.T) {
	said := map[string]reply{"a": {message.AnswerComing, 5, "nurse"}, "b": {message.AnswerComing, 9, ""}, "c": {answer: message.AnswerLater}}
	tally := func(change func(*api.CallOut)) string {
		one := func(log string) api.Answered { return api.Answered{From: api.Author{Log: log}} }
		c := api.CallOut{
			Coming: []api.Answered{one("1"), one("2")}, Later: []api.Answered{one("3")}, Silent: 2,
			Skills: []api.Skill{{Skill: "nurse", Coming: 1}, {Skill: "surgeon"}, {Skill: "", Coming: 1}},
		}
		change(&c)
		return wrongTally(c, said, 5)
	}
	if wrong := tally(func(*api.CallOut) {}); wrong != "" {
		t.Fatalf("a right tally is wrong: %s", wrong)
	}
	for name, change := range map[string]func(*api.CallOut){
		"somebody twice":     func(c *api.CallOut) { c.Coming = append(c.Coming, c.Coming[0]) },
		"twice, none lost":   func(c *api.CallOut) { c.Coming[1] = c.Coming[0] },
		"an older answer":    func(c *api.CallOut) { c.Cannot = append(c.Cannot, c.Coming[1]) },
		"somebody missing":   func(c *api.CallOut) { c.Later = nil },
		"a wrong skill":      func(c *api.CallOut) { c.Skills[1].Coming = 1 },
		"a skill left out":   func(c *api.CallOut) { c.Skills = c.Skills[1:] },
		"others not counted": func(c *api.CallOut) { c.Silent = 0 },
	} {
		if tally(change) == "" {
			t.Errorf("not noticed: %s", name)
		}
	}
}

// TestScanFinds plants a text in every form that the demo looks for: a scan that
// cannot find proves nothing.
func TestScanFinds(t *testing.T) {
	const text = "Blood bank has twelve units left."
	var wide []byte
	for _, u := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	for form, planted := range map[string]string{
		"text":        text,
		"UTF-16":      string(wide),
		"hexadecimal": hex.EncodeToString([]byte(text)),
		"base64":      base64.StdEncoding.EncodeToString([]byte(text)),
		"base64+1":    base64.StdEncoding.EncodeToString([]byte("x" + text + "y")),
		"base64+2":    base64.RawURLEncoding.EncodeToString([]byte("xy" + text + "zz")),
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "below", "file")
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte("before"+planted+"after\x00\x00"), 0o600))
		if err := scanFiles(dir, newSieve(text, "Something else that was said.")); err == nil {
			t.Errorf("a text planted as %s was not found", form)
		}
		if err := scanFiles(dir, newSieve("Another text altogether.")); err != nil {
			t.Errorf("found what is not there: %v", err)
		}
	}
}
