package main

import (
	"context"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

func (a *app) statusCommand() *cobra.Command {
	return a.clientCommand("status", "Say how this device is: who it is, whom it reaches, what it holds",
		"  tocsin status\n  tocsin status --json", args(0, 0),
		func(ctx context.Context, client *api.Client, _ []string) error {
			st, err := client.Status(ctx)
			if err != nil {
				return err
			}
			return a.emit(st, func() { a.printStatus(st) })
		})
}

func (a *app) printStatus(st node.Status) {
	s := a.style()
	a.say("%s (%s)", s.bold(printable(st.Name)), st.Person)
	a.say("  mesh        %s (%s)", printable(st.Mesh), short(st.MeshID))
	a.say("  state       %s", stateWords(st))
	a.say("  in reach    %s", plural(st.Peers, "device"))
	a.say("  holds       %s in %s", plural(st.Entries, "entry"), plural(st.Logs, "log"))
	if st.Waiting > 0 {
		a.say("  waiting     %s sealed under keys that have not arrived yet", plural(st.Waiting, "message"))
	}
	if st.LowBandwidth.Words != "" {
		a.say("  line        %s", s.bold(printable(st.LowBandwidth.Words)))
	}
	if st.Forks > 0 {
		a.say("  forks       %s: 'tocsin log forks' shows both branches", s.red(plural(st.Forks, "log")+" forked"))
	}
	a.say("  device      %s", st.Device)
	a.say("  peer id     %s", st.PeerID)
	for i, addr := range st.Addrs {
		label := "addresses"
		if i > 0 {
			label = ""
		}
		a.say("  %-11s %s", label, addr)
	}
	a.say("  credential  valid until %s", when(st.CredentialNotAfter))
	if st.Standing.Words != "" {
		a.say("  standing    %s", printable(st.Standing.Words))
	}
	a.say("  locks       %s", lockWords(st))
	for i, r := range st.Revocation {
		label := "revocations"
		if i > 0 {
			label = ""
		}
		a.say("  %-11s %s", label, printable(r.Words))
	}
	a.say("  up since    %s", when(st.Started))
	if st.Problem != "" {
		a.say("  %s", s.red(st.Problem))
	}
}

// lockWords says when the device locks itself and what opens it then.
func lockWords(st node.Status) string {
	idle := "by hand only"
	if st.IdleLockSeconds > 0 {
		idle = "after " + (time.Duration(st.IdleLockSeconds) * time.Second).String() + " without a touch"
	}
	switch {
	case st.LeaseEnded:
		return idle + "; nobody unlocked it for 7 days, so only the passphrase opens it"
	case st.HasPIN:
		return idle + "; the PIN opens it"
	}
	return idle + "; the passphrase opens it"
}

func stateWords(st node.Status) string {
	lock, mesh := "unlocked", "on line"
	if st.Locked {
		lock = "locked: it relays and reads nothing"
	}
	if st.Wiped {
		lock = "wiped: it reads nothing any more, and hands its receipt over"
	}
	if !st.Online {
		mesh = "the mesh is switched off on this device"
	}
	return lock + ", " + mesh
}

func direction(inbound bool) string {
	if inbound {
		return "they called"
	}
	return "we called"
}

func (a *app) openCommand() *cobra.Command {
	var browser bool
	cmd := a.clientCommand("open", "Print the address of the web app, with a code that lets one browser in",
		"  tocsin open\n  tocsin open --browser", args(0, 0),
		func(ctx context.Context, client *api.Client, _ []string) error {
			code, err := client.WebCode(ctx)
			if err != nil {
				return err
			}
			if err := a.emit(code, func() {
				a.say("%s", code.URL)
				a.note("The code works once, until %s.", when(code.Ends))
			}); err != nil || !browser {
				return err
			}
			return startBrowser(ctx, code.URL)
		})
	cmd.Flags().BoolVar(&browser, "browser", false, "open it in the browser")
	return cmd
}

// startBrowser hands the address to the system. The code in it is visible to
// other processes of this user for a moment; it works once.
func startBrowser(ctx context.Context, url string) error {
	var cmd *exec.Cmd
	switch runtime.GOOS {
	case "windows":
		cmd = exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", url)
	case "darwin":
		cmd = exec.CommandContext(ctx, "open", url)
	default:
		cmd = exec.CommandContext(ctx, "xdg-open", url)
	}
	if err := cmd.Run(); err != nil {
		return fail(exitFailed, "Open the address above yourself.", "no browser could be started: %w", err)
	}
	return nil
}
