package main

import (
	"iter"
	"maps"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	explain := &cobra.Command{
		Use:   "explain",
		Short: "Print every setting, its value and where the value came from",
		Long: `Print every setting, its value and where the value came from.

Settings come in four layers, each over the one before: the defaults, the
configuration file, TOCSIN_ variables, flags. The output is a configuration
file itself: save it, change it, and name it with --config.`,
		Example: "  tocsin config explain\n  TOCSIN_MESH_MDNS=false tocsin config explain --listen /ip4/0.0.0.0/udp/0/quic-v1",
		Args:    args(0, 0),
		RunE:    func(*cobra.Command, []string) error { return a.explain() },
	}
	a.addSettingFlags(explain.Flags(), upOnly)
	return family("config", "Say how this node is configured", "  tocsin config explain", explain)
}

// explained is one setting in the JSON of config explain.
type explained struct {
	Key      string   `json:"key"`
	Value    any      `json:"value"`
	From     string   `json:"from"`
	Variable string   `json:"variable"`
	Flag     string   `json:"flag"`
	Help     string   `json:"help"`
	items    []string // the value, whatever its kind
	kind     kind
}

func (a *app) explain() error {
	c, err := a.load()
	if err != nil {
		return err
	}
	var all []explained
	for _, s := range settings() {
		e := explained{Key: s.key, From: c.values[s.key].from, Variable: s.variable(), Flag: "--" + s.flag,
			Help: strings.ReplaceAll(s.usage, "`", ""), items: c.list(s.key), kind: s.kind}
		switch s.kind {
		case listKind:
			e.Value = e.items
		case boolKind:
			e.Value = c.yes(s.key)
		default:
			e.Value = c.text(s.key)
		}
		all = append(all, e)
	}
	return a.emit(all, func() {
		a.say("# The configuration file is %s", c.file)
		table := ""
		for _, e := range all {
			a.say("")
			prefix, name, dotted := strings.Cut(e.Key, ".")
			if !dotted {
				name = e.Key
			} else if prefix != table {
				table = prefix
				a.say("[%s]", table)
			}
			a.say("# %s", e.Help)
			a.say("# from: %s    variable: %s    flag: %s", e.From, e.Variable, e.Flag)
			a.say("%s = %s", name, e.toml())
		}
	})
}

// toml writes the value as the configuration file takes it.
func (e explained) toml() string {
	switch e.kind {
	case boolKind:
		return strconv.FormatBool(e.Value == true)
	case listKind:
		quoted := make([]string, len(e.items))
		for i, item := range e.items {
			quoted[i] = quoteTOML(item)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return quoteTOML(strings.Join(e.items, ""))
}

// quoteTOML writes a basic string (TOML 1.0): of Go's escapes it knows only
// some, so control characters are written as \u.
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			hex := strconv.FormatInt(int64(r), 16)
			b.WriteString(`\u` + strings.Repeat("0", 4-len(hex)) + hex)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func keysOf[V any, M ~map[string]V](m M) iter.Seq[string] { return maps.Keys(m) }

// nearest returns the name that is closest to word, or nothing when none is
// close enough to be a slip of the keyboard.
func nearest(word string, names []string) string {
	best, distance := "", len(word)/3+2
	for _, name := range names {
		if d := editDistance(word, name); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// editDistance is Levenshtein's: how many letters to add, drop or change.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
