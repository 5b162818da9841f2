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
	if code != exitOK || !strings.Contains(stdout, "Every step held") || strings.Count(stdout, "✓") != 23 {
		t.Fatalf("exit code %d:\n%s\n%s", code, stdout, stderr)
	}
}

// TestDemoNotices switches one protection off after the other: the demo must
// fail, and say in which step.
func TestDemoNotices(t *testing.T) {
	if testing.Short() {
		t.Skip("four demos are not short")
	}
	for _, c := range []struct {
		protection string
		step       int
		says       string
	}{
		{unsafeAdmission, 4, "took the stranger in"},
		{unsafeSync, 2, "knows 1 of 5 devices"},
		{unsafeFsync, 6, "is not on the disk"},
		{unsafeSeal, 3, "does not have the message"},
	} {
		t.Run(c.protection, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := runDemo(t, "--break", c.protection, "--json")
			var last told
			lines := strings.Split(strings.TrimSpace(stdout), "\n")
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
				t.Fatalf("%v:\n%s\n%s", err, stdout, stderr)
			}
			if code != exitFailed || last.Step != c.step || !strings.Contains(last.Failed, c.says) {
				t.Errorf("exit code %d, step %d says %q:\n%s", code, last.Step, last.Failed, stderr)
			}
		})
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
		if err := scanFiles(dir, disguises(text)); err == nil {
			t.Errorf("a text planted as %s was not found", form)
		}
		if err := scanFiles(dir, disguises("Another text altogether.")); err != nil {
			t.Errorf("found what is not there: %v", err)
		}
	}
}
