package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Configuration in four layers, each over the one before: defaults, the TOML
// file, TOCSIN_ variables, flags. What is not known is an error in every layer:
// a misspelt "mdns" must not leave a device shouting on a network.

const (
	envPrefix = "TOCSIN_"
	envConfig = envPrefix + "CONFIG"
)

// value is the value of one setting and where it came from.
type value struct {
	items []string
	from  string
}

// config is the outcome of all layers, by key.
type config struct {
	values map[string]value
	file   string // the configuration file; it need not exist
}

func (c *config) text(key string) string { return strings.Join(c.values[key].items, "") }
func (c *config) list(key string) []string {
	return slices.DeleteFunc(slices.Clone(c.values[key].items), func(s string) bool { return s == "" })
}
func (c *config) yes(key string) bool { return c.text(key) == "true" }

// load reads all layers and applies the rules.
func (a *app) load() (*config, error) {
	c := &config{values: make(map[string]value)}
	if err := a.loadFile(c); err != nil {
		return nil, err
	}
	if err := a.loadVariables(c); err != nil {
		return nil, err
	}
	for _, s := range settings() {
		if f := a.flags[s.key]; f.given {
			c.values[s.key] = value{f.items, "--" + s.flag}
		}
	}
	for _, s := range settings() {
		if _, ok := c.values[s.key]; !ok {
			items, err := s.def(a.env)
			if err != nil {
				return nil, err
			}
			c.values[s.key] = value{items, "default"}
		}
		if err := c.check(s); err != nil {
			return nil, err
		}
	}
	return c, c.absolute()
}

// check applies the rule of one setting to whatever layer won.
func (c *config) check(s setting) error {
	v := c.values[s.key]
	var err error
	if s.kind == boolKind {
		if t := c.text(s.key); t != "true" && t != "false" {
			err = fail(exitInput, "Write true or false.", "%q is neither true nor false", t)
		}
	} else if s.check != nil {
		err = s.check(v.items)
	}
	if err != nil {
		return fmt.Errorf("%s, from %s: %w", s.key, v.from, err)
	}
	return nil
}

// absolute fixes relative paths to the working directory.
func (c *config) absolute() error {
	for _, key := range append([]string{keyData, keyPassphrase, keyLogFile}, recordFiles()...) {
		v := c.values[key]
		if c.text(key) == "" {
			if key == keyData {
				return fail(exitInput, "Leave the setting out for the default directory.", "%s, from %s: it is empty", key, v.from)
			}
			continue
		}
		abs, err := filepath.Abs(c.text(key))
		if err != nil {
			return fail(exitInput, "Give the full path.", "%s, from %s: %w", key, v.from, err)
		}
		c.values[key] = value{[]string{abs}, v.from}
	}
	return nil
}

// loadFile reads the configuration file. Only one that was asked for by name
// must exist.
func (a *app) loadFile(c *config) error {
	named := true
	switch {
	case a.configFlag != "":
		c.file = a.configFlag
	case a.env.get(envConfig) != "":
		c.file = a.env.get(envConfig)
	default:
		path, err := a.env.configFile()
		if err != nil {
			return err
		}
		c.file, named = path, false
	}
	text, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fail(exitInput, "Check the path, or leave --config and "+envConfig+" out.", "the configuration file cannot be read: %w", err)
	}
	return parseConfig(c.file, string(text), c.values)
}

// loadVariables reads the TOCSIN_ variables. An empty one counts as not set, as
// in most shells' wrappers.
func (a *app) loadVariables(c *config) error {
	known := make(map[string]setting)
	names := []string{envConfig}
	for _, s := range settings() {
		known[s.variable()] = s
		names = append(names, s.variable())
	}
	for _, name := range slices.Sorted(keysOf(a.env)) {
		if !strings.HasPrefix(name, envPrefix) || name == envConfig || a.env[name] == "" {
			continue
		}
		s, ok := known[name]
		if !ok {
			return unknown("variable", name, names)
		}
		items := []string{a.env[name]}
		if s.kind == listKind {
			items = strings.Split(a.env[name], ",")
		}
		c.values[s.key] = value{items, name}
	}
	return nil
}

func unknown(what, name string, names []string) error {
	next := "'tocsin config explain' lists every setting and its variable."
	if name == envPrefix+"PASSPHRASE" {
		next = "A passphrase in the environment can be read by other programs: put it in a file and name the file in " + envPrefix + "PASSPHRASE_FILE."
	} else if near := nearest(name, names); near != "" {
		next = "Did you mean " + near + "? " + next
	}
	return fail(exitInput, next, "there is no %s %q", what, name)
}
