package main

import (
	"io/fs"
	"path"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/docs"
)

// build is what the binary knows of itself.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readBuild asks the Go tool chain's own record, so that no version is written
// down twice.
func readBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  tocsin version --json", Args: args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			return a.emit(b, func() {
				a.say("tocsin %s", b.Version)
				if b.Revision != "" {
					modified := ""
					if b.Modified {
						modified = ", with changes that are not committed"
					}
					a.say("revision %s%s", b.Revision, modified)
				}
				a.say("%s, %s", b.Go, b.Platform)
			})
		},
	}
}

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script of a shell",
		Long:  "Print the completion script of a shell: " + strings.Join(shells, ", ") + ".",
		Example: `  source <(tocsin completion bash)
  tocsin completion fish > ~/.config/fish/completions/tocsin.fish`,
		Args:      args(1, 1),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.out)
			}
			return usage("Choose one of "+strings.Join(shells, ", ")+".", "there is no completion for %q", args[0])
		},
	}
}

func (a *app) guideCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "guide [NAME]",
		Short:   "Read the guides, which are part of the program",
		Long:    "Read the guides, which are part of the program and need no network. Without a name, list them.",
		Example: "  tocsin guide\n  tocsin guide glossary",
		Args:    args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listGuides()
			}
			return a.printGuide(args[0])
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			guides, err := readGuides()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			var names []string
			for _, g := range guides {
				names = append(names, g.Name+"\t"+g.Title)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// guide is one embedded document.
type guide struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Text  string `json:"-"`
}

// readGuides returns the guides in order of name. The title is the first
// heading.
func readGuides() ([]guide, error) {
	files, err := fs.Glob(docs.Files, "*.md")
	if err != nil {
		return nil, err
	}
	var guides []guide
	for _, file := range files {
		text, err := fs.ReadFile(docs.Files, file)
		if err != nil {
			return nil, err
		}
		g := guide{Name: strings.TrimSuffix(path.Base(file), ".md"), Text: string(text)}
		for line := range strings.Lines(g.Text) {
			if title, ok := strings.CutPrefix(line, "# "); ok {
				g.Title = strings.TrimSpace(title)
				break
			}
		}
		guides = append(guides, g)
	}
	return guides, nil
}

func (a *app) listGuides() error {
	guides, err := readGuides()
	if err != nil {
		return err
	}
	return a.emit(guides, func() {
		var rows [][]string
		for _, g := range guides {
			rows = append(rows, []string{g.Name, g.Title})
		}
		a.table([]string{"GUIDE", "TITLE"}, rows)
		a.say("\nRead one with: tocsin guide NAME")
	})
}

func (a *app) printGuide(name string) error {
	guides, err := readGuides()
	if err != nil {
		return err
	}
	var names []string
	for _, g := range guides {
		if g.Name == name {
			return a.emit(map[string]string{"name": g.Name, "text": g.Text}, func() { a.say("%s", strings.TrimRight(g.Text, "\n")) })
		}
		names = append(names, g.Name)
	}
	next := "Run 'tocsin guide' for the list."
	if near := nearest(name, names); near != "" {
		next = "Did you mean 'tocsin guide " + near + "'?"
	}
	return fail(exitNotFound, next, "there is no guide %q", name)
}
