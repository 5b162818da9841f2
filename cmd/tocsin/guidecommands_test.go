package main

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"tocsin/docs"
)

// guideCommand is a command that a guide shows: between backquotes, or on a line of its own in a block.
var guideCommand = regexp.MustCompile("(?m)`tocsin ([^`\n]+)`|^    tocsin (.+)$")

// TestGuidesNameCommands: every command that a guide names is one of this program's, and so is every flag of it.
func TestGuidesNameCommands(t *testing.T) {
	names, err := fs.Glob(docs.Files, "*.md")
	must(t, err)
	seen := 0
	for _, name := range names {
		page, err := docs.Files.ReadFile(name)
		must(t, err)
		for _, m := range guideCommand.FindAllStringSubmatch(string(page), -1) {
			seen++
			if why := noCommand(newApp().root(), m[1]+m[2]); why != "" {
				t.Errorf("%s: tocsin %s%s: %s", name, m[1], m[2], why)
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d commands were found", seen)
	}
	for _, wrong := range []string{"recrd queue", "record queu", "record queue --stat x", "status -Z"} {
		if noCommand(newApp().root(), wrong) == "" {
			t.Errorf("the control: tocsin %s is taken", wrong)
		}
	}
}

// noCommand says why words are no command of the program, in words; empty if they are one. Quoted words and comments are left out.
func noCommand(root *cobra.Command, line string) string {
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, "   ") // what it is for stands beside it
	line = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(line, "WORDS")
	words := strings.Fields(strings.TrimSuffix(line, ";"))
	cmd := root
	for len(words) > 0 {
		next, _, err := cmd.Find(words[:1])
		if err != nil || next == cmd {
			break
		}
		cmd, words = next, words[1:]
	}
	if cmd == root && (len(words) == 0 || !strings.HasPrefix(words[0], "-")) {
		return "there is no such command"
	}
	if cmd.HasSubCommands() && len(words) > 0 && !strings.HasPrefix(words[0], "-") && regexp.MustCompile(`^[a-z-]+$`).MatchString(words[0]) {
		return "there is no such command of " + cmd.Name()
	}
	for _, w := range words {
		flag, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
		known := cmd.Flags().Lookup(flag) != nil || cmd.InheritedFlags().Lookup(flag) != nil || cmd.PersistentFlags().Lookup(flag) != nil || flag == "help"
		switch {
		case strings.HasPrefix(w, "--") && !known:
			return "there is no flag --" + flag
		case strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--") && (len(flag) != 1 || cmd.Flags().ShorthandLookup(flag) == nil && cmd.InheritedFlags().ShorthandLookup(flag) == nil && flag != "h"):
			return "there is no flag -" + flag
		}
	}
	return ""
}
