package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

func (a *app) bundleCommand() *cobra.Command {
	return family("bundle", "Carry messages across an air gap on a stick, or on paper",
		"  tocsin bundle export /media/stick/ward.tocsin --to ambulance.nhs.example\n  tocsin bundle import /media/stick/ward.tocsin\n"+
			"  tocsin bundle paper --page sheet.html\n  tocsin bundle scan photo-*.jpg",
		a.bundleExport(), a.bundleImport(), a.bundlePaper(), a.bundleScan())
}

func (a *app) bundleExport() *cobra.Command {
	var spec node.BundleSpec
	var limit string
	cmd := a.clientCommand("export FILE", "Write what other devices lack to a file, and read it back",
		"  tocsin bundle export /media/stick/ward.tocsin\n  tocsin bundle export /media/stick/x.tocsin --to \"Ben Okafor\" --limit 8M",
		args(1, 1), func(ctx context.Context, client *api.Client, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if spec.Limit, err = parseSize(limit); err != nil {
				return err
			}
			info, err := client.ExportBundle(ctx, path, spec)
			if err != nil {
				return err
			}
			return a.showExport(info)
		})
	cmd.Long = `Write what other devices lack to a file for a stick. The file is sealed: only the
devices that it is for can open it, and the courier learns nothing. What is urgent
goes first, so that half of a file helps too; the medium is read back and checked.

It is for every device known unless --to says for whom: a name, a registration
(organisation/regulator/number), an organisation or the ODS code of a site. When a
bundle came from them before, only what they lacked then is written. The device may be
locked.`
	f := cmd.Flags()
	f.StringSliceVar(&spec.To, "to", nil, "for whom: a `name`, registration, organisation or ODS code; may be given again")
	f.BoolVar(&spec.Everything, "everything", false, "also what they are known to hold")
	f.StringVar(&limit, "limit", "", "the largest `size` of the file, such as 500K, 8M or 1G")
	f.IntVar(&spec.Days, "days", 0, "tell the courier to throw the file away after this many `days`")
	return cmd
}

// parseSize reads a size in bytes with a K, M or G of 1,024 behind it.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	digits := strings.TrimRight(strings.ToUpper(text), "KMG")
	unit := int64(1)
	switch strings.ToUpper(text)[len(digits):] {
	case "K":
		unit = 1 << 10
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	case "":
	default:
		unit = 0
	}
	n := int64(0)
	for _, r := range digits {
		if r < '0' || r > '9' || n > 1<<30 {
			unit = 0
			break
		}
		n = n*10 + int64(r-'0')
	}
	if digits == "" || unit == 0 || n == 0 {
		return 0, usage("Give a number with K, M or G behind it, such as 8M.", "%q is no size", text)
	}
	return n * unit, nil
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return plural(n, "byte")
}

func (a *app) showExport(info node.BundleInfo) error {
	return a.emit(info, func() {
		a.say("%s: %s for %s, %s, read back and found good.", info.Path, plural(info.Entries, "entry"), plural(info.Recipients, "device"), size(info.Bytes))
		if info.Left > 0 {
			a.say("%s had no room: what is urgent went first. Use a larger limit, or a second file afterwards.", plural(info.Left, "record"))
		}
	})
}

func (a *app) bundleImport() *cobra.Command {
	cmd := a.clientCommand("import FILE...", "Take what bundles bring",
		"  tocsin bundle import /media/stick/ward.tocsin", args(1, -1),
		func(ctx context.Context, client *api.Client, args []string) error {
			for _, arg := range args {
				path, err := filepath.Abs(arg)
				if err != nil {
					return err
				}
				report, err := client.ImportBundle(ctx, path)
				if err != nil {
					return err
				}
				if err := a.showImport(arg, report); err != nil {
					return err
				}
			}
			return nil
		})
	cmd.Long = `Take what bundles bring. Every entry passes the checks that one from the network
passes. The same file can be imported again: nothing happens twice, and a file that was
cut or damaged gives what it still holds. The device must be unlocked.`
	return cmd
}

func (a *app) showImport(path string, r node.BundleReport) error {
	return a.emit(r, func() {
		from := "a device not known yet"
		if r.Creator != "" {
			from = printable(r.Creator)
		}
		a.say("%s, made by %s on %s: %s new, %s filled in, %s known.", path, from, when(r.Created),
			plural(r.New, "entry"), plural(r.Filled, "message"), plural(r.Known, "entry"))
		if r.Waiting > 0 {
			a.say("%s for what is missing before them.", waiting(r.Waiting))
		}
		if r.Refused > 0 {
			a.say("%s refused: they do not verify. Tell your security staff who gave you this file.", plural(r.Refused, "record"))
		}
		a.say("%s", r.Words)
	})
}

func waiting(n uint64) string {
	if n == 1 {
		return "1 record waits"
	}
	return plural(n, "record") + " wait"
}
