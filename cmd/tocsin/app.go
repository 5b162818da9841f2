package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// app is one run of the program: its streams, its environment and the flags
// that every command shares. There are no package variables, so that a test
// can run commands side by side.
type app struct {
	in   io.Reader
	out  *output
	err  io.Writer
	env  environment
	now  func() time.Time
	args []string

	json       bool   // --json
	configFlag string // --config
	flags      map[string]*settingFlag
}

func newApp() *app {
	return &app{
		in:   os.Stdin,
		out:  &output{w: os.Stdout},
		err:  os.Stderr,
		env:  newEnvironment(os.Environ()),
		now:  time.Now,
		args: os.Args[1:],

		flags: newSettingFlags(),
	}
}

// run executes the command line and returns the exit code.
func run(a *app) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := a.root().ExecuteContext(ctx)
	if err == nil {
		err = a.out.err // a full disk or a closed pipe must not look like success
	}
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = fail(exitFailed, "", "interrupted before it was done")
	}
	f := asFailure(err)
	f.report(a.err, a.json || slices.Contains(a.args, "--json"))
	return f.code
}

const rootLong = `Tocsin carries sealed messages between verified clinicians when the
switchboard, the e-mail and the internet are down.

Start with 'tocsin demo', which plays a whole incident on this machine.
For your own device: 'tocsin init', hand the request to your organisation,
'tocsin enrol RESPONSE', then 'tocsin up'.

`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "tocsin",
		Short:         "An emergency messenger for clinicians",
		Long:          rootLong + exitHelp,
		Example:       "  tocsin demo\n  tocsin up",
		Args:          onlyCommands,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(a.args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("Run '"+cmd.CommandPath()+" --help' for the flags it knows.", "%w", err)
	})
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "print JSON for programs instead of text for people")
	flags.StringVar(&a.configFlag, "config", "", "configuration `file` (default: config.toml in the configuration directory)")
	a.addSettingFlags(flags, everywhere)

	root.AddCommand(
		a.demoCommand(), a.initCommand(), a.enrolCommand(), a.authorityCommand(),
		a.upCommand(), a.openCommand(), a.statusCommand(), a.peersCommand(), a.lowBandwidthCommand(), a.peopleCommand(),
		a.groupsCommand(), a.sendCommand(), a.kindsCommand(), a.ackCommand(), a.boardCommand(), a.searchCommand(), a.calloutCommand(), a.taskCommand(),
		a.alertCommand(), a.decisionCommand(), a.incidentCommand(), a.roleCommand(), a.cardsCommand(), a.timelineCommand(), a.attachCommand(), a.attachmentsCommand(),
		a.broadcastCommand(), a.watchCommand(), a.eraseCommand(), a.logCommand(), a.bundleCommand(), a.verifyCommand(), a.recordCommand(),
		a.verifyPersonCommand(), a.sponsorCommand(), a.statementCommand(),
		a.lockCommand(), a.unlockCommand(), a.pinCommand(), a.passphraseCommand(), a.keyrollCommand(), a.wipeCommand(), a.configCommand(), a.doctorCommand(),
		a.guideCommand(), a.versionCommand(), a.completionCommand(),
	)
	return root
}

// onlyCommands is the Args of a command that only holds others: whatever is
// left over was meant as one of them.
func onlyCommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	next := "Run '" + cmd.CommandPath() + " --help' for the commands there are."
	var names []string
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	if near := nearest(args[0], names); near != "" {
		next = "Did you mean '" + cmd.CommandPath() + " " + near + "'?"
	}
	return usage(next, "there is no command %q in '%s'", args[0], cmd.CommandPath())
}

// family makes a command that only holds others.
func family(use, short, example string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: onlyCommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

// args returns a check that takes between least and most arguments; most < 0
// means any number.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		next := "Usage: " + cmd.UseLine()
		switch {
		case len(given) < least:
			return usage(next, "'%s' needs %s", cmd.CommandPath(), plural(least, "argument"))
		case most >= 0 && len(given) > most:
			return usage(next, "'%s' takes no argument %q", cmd.CommandPath(), given[most])
		}
		return nil
	}
}
