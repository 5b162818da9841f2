package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

func (a *app) attachCommand() *cobra.Command {
	var group string
	var spec node.AttachSpec
	var regions []string
	cmd := a.clientCommand("attach FILE --group GROUP", "Send a file or a picture to a group",
		"  tocsin attach plan.pdf --group \"Bus crash A6\"\n  tocsin attach ward5.jpg --group \"Bus crash A6\" --caption \"The north stair is blocked\" --shows no-patient\n  tocsin attach wound.jpg --group \"Bus crash A6\" --shows patient --consent patient --purpose \"Advice from plastics\" --witness stmarys.nhs.example/nmc/01A0001E --blackout 400,0,300,200",
		args(1, 1),
		func(ctx context.Context, client *api.Client, args []string) error {
			if group == "" {
				return usage("Name it with --group; 'tocsin groups' lists them.", "no group is named")
			}
			if err := fillConsent(&spec, regions); err != nil {
				return err
			}
			f, err := openFile(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if spec.Name == "" {
				spec.Name = filepath.Base(args[0])
			}
			g, err := a.findGroup(ctx, client, group)
			if err != nil {
				return err
			}
			sent, err := client.Attach(ctx, g.ID, spec, f)
			if err != nil {
				return err
			}
			return a.emit(sent, func() {
				a.say("%s", sent.ID)
				a.note("Saved on this device. It is fetched from here, and from every device that has it.")
			})
		})
	cmd.Long = `Send a file of at most 64 MiB to a group. It returns when the file and its message
are saved on this device, and prints the message's id.

JPEG, PNG and WebP pictures are encoded anew, upright and at most 2,560 pixels long,
so that place, time and owner, which cameras write into a file, stay behind. --as-is
sends the exact bytes. Films and pictures of other forms go only with --as-is, and never
of a patient. Other files are sent as they are, with all that they hold.

Of every picture and film --shows says whether a patient is in it. With a patient the consent is
recorded: --consent says on what it rests, --purpose what the patient was told that it is
for, --witness the second clinician in the room, --asked-by who asked if it was not you.
--blackout paints a region black before anything leaves, x,y,width,height in pixels of
the picture as it is seen upright; it may be repeated.`
	cmd.Flags().StringVar(&group, "group", "", "`name`, id, or the beginning of an id")
	cmd.Flags().StringVar(&spec.Name, "name", "", "another `name` for the file than its own")
	cmd.Flags().StringVar(&spec.Caption, "caption", "", "what is said with it")
	cmd.Flags().StringVar(&spec.Priority, "priority", "routine", "routine, urgent or stat, of the message; the file itself always comes last")
	cmd.Flags().StringVar(&spec.Shows, "shows", "", "of a picture: patient or no-patient")
	cmd.Flags().StringVar(&spec.Consent, "consent", "", "`ground` of the consent: patient, guardian or best-interests")
	cmd.Flags().StringVar(&spec.Purpose, "purpose", "", "what the picture is for, as the patient was told, in a `line`")
	cmd.Flags().StringVar(&spec.Witness, "witness", "", "the second clinician in the room, a `person` as org/regulator/number")
	cmd.Flags().StringVar(&spec.AskedBy, "asked-by", "", "`person` who asked, as org/regulator/number (default: you)")
	cmd.Flags().StringArrayVar(&regions, "blackout", nil, "a region to paint black, `x,y,width,height`")
	cmd.Flags().BoolVar(&spec.Exact, "as-is", false, "send a picture byte for byte, with what the camera wrote into it")
	return cmd
}

// fillConsent reads what flags say of a picture.
func fillConsent(spec *node.AttachSpec, regions []string) error {
	for _, person := range []*string{&spec.Witness, &spec.AskedBy} {
		if *person != "" {
			*person = message.PersonAddress(strings.TrimPrefix(*person, "person:"))
		}
	}
	spec.Blackout = nil
	for _, s := range regions {
		r, err := api.ParseRegion(s)
		if err != nil {
			return usage("", "%w", err)
		}
		spec.Blackout = append(spec.Blackout, r)
	}
	return nil
}

// openFile opens a file to be sent, and says early what the node would say late.
func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitInput, "Check the path.", "the file cannot be opened: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = fail(exitInput, "Check the path.", "the file cannot be read: %w", err)
	case !info.Mode().IsRegular():
		err = fail(exitInput, "Name a file.", "%s is no file", path)
	case info.Size() == 0:
		err = fail(exitInput, "Check that it was saved.", "%s is empty", path)
	case info.Size() > message.MaxAttachment:
		err = fail(exitInput, "Send it in parts.", "%s is larger than %d MiB", path, message.MaxAttachment>>20)
	default:
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}

func (a *app) attachmentsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "attachments", Short: "List, fetch and save files that were sent",
		Example: "  tocsin attachments list\n  tocsin attachments save 4f2a --wait 10m", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.attachmentsListCommand(), a.attachmentsSaveCommand())
	return cmd
}

func (a *app) attachmentsListCommand() *cobra.Command {
	return a.clientCommand("list [GROUP]", "List the attachments of a group, or of all",
		"  tocsin attachments list\n  tocsin attachments list \"Bus crash A6\" --json", args(0, 1),
		func(ctx context.Context, client *api.Client, args []string) error {
			id := ""
			if len(args) == 1 {
				g, err := a.findGroup(ctx, client, args[0])
				if err != nil {
					return err
				}
				id = g.ID
			}
			all, err := client.Attachments(ctx, id)
			if err != nil {
				return err
			}
			return a.emit(api.Attachments{Attachments: all}, func() {
				if len(all) == 0 {
					a.note("No files were sent yet.")
					return
				}
				var rows [][]string
				for _, f := range all {
					rows = append(rows, []string{short(f.ID), printable(f.Name), message.SizeWords(f.Size), printable(f.From), heldWords(f)})
				}
				a.table([]string{"ID", "NAME", "SIZE", "FROM", "STATE"}, rows)
			})
		})
}

func heldWords(f node.AttachmentInfo) string {
	return inbox.Held{State: f.State, Have: f.Have, Chunks: f.Chunks}.Words()
}

func (a *app) attachmentsSaveCommand() *cobra.Command {
	var wait time.Duration
	var force bool
	cmd := a.clientCommand("save ID [FILE | DIRECTORY]", "Save an attachment to a file",
		"  tocsin attachments save 4f2a\n  tocsin attachments save 4f2a /media/stick --wait 10m", args(1, 2),
		func(ctx context.Context, client *api.Client, args []string) error {
			info, err := findAttachment(ctx, client, args[0])
			if err != nil {
				return err
			}
			path := info.Name
			if len(args) == 2 {
				path = args[1]
			}
			if stat, err := os.Stat(path); err == nil && stat.IsDir() {
				path = filepath.Join(path, info.Name)
			}
			if _, err := os.Lstat(path); err == nil && !force {
				return fail(exitInput, "Name another file, or replace it with --force.", "%s is there already", path)
			}
			if info, err = a.awaitAttachment(ctx, client, info, wait); err != nil {
				return err
			}
			if err := saveAttachment(ctx, client, info, path); err != nil {
				return err
			}
			return a.emit(savedAttachment{info, path}, func() { a.say("%s", path) })
		})
	cmd.Long = `Save an attachment to a file: by its own name in this directory, or where you say.
ID is the message's, or the beginning of it, as 'tocsin attachments list' shows it.

Where not all of it is here yet, the rest is fetched first: --wait says for how long
to wait for it. What has come is kept, and the next try goes on from there.`
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so long for what is not here yet, such as 10m")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	return cmd
}

// savedAttachment is what save prints with --json.
type savedAttachment struct {
	node.AttachmentInfo
	Path string `json:"path"`
}

// findAttachment finds the one attachment whose id begins so.
func findAttachment(ctx context.Context, client *api.Client, prefix string) (found node.AttachmentInfo, err error) {
	all, err := client.Attachments(ctx, "")
	if err != nil {
		return found, err
	}
	count := 0
	for _, f := range all {
		if prefix != "" && strings.HasPrefix(f.ID, strings.ToLower(prefix)) {
			found, count = f, count+1
		}
	}
	switch {
	case count == 0:
		return found, fail(exitNotFound, "List them with 'tocsin attachments list'.", "no attachment's id begins with %q", prefix)
	case count > 1:
		return found, fail(exitInput, "Write more of it.", "%d attachments' ids begin with %q", count, prefix)
	}
	return found, nil
}

// attachmentPoll is how often save looks how far an attachment has come.
const attachmentPoll = 250 * time.Millisecond

// awaitAttachment has the rest fetched and waits until it is here.
func (a *app) awaitAttachment(ctx context.Context, client *api.Client, info node.AttachmentInfo, wait time.Duration) (node.AttachmentInfo, error) {
	if info.State == inbox.HeldHere {
		return info, nil
	}
	end := time.Now().Add(wait)
	for told := -1; ; {
		var err error
		if info, err = client.FetchAttachment(ctx, info.ID); err != nil || info.State == inbox.HeldHere {
			return info, err
		}
		if info.State == inbox.HeldNoRoom {
			return info, fail(exitFailed, "Erase messages with attachments, or raise attachments.keep in the configuration.", "there is no room for it on this device")
		}
		if !time.Now().Before(end) {
			return info, fail(exitFailed, "It is being fetched: try again later, or wait with --wait 10m.", "%d of %d parts are here", info.Have, info.Chunks)
		}
		if info.Have != told && !a.json {
			told = info.Have
			a.note("%d of %d parts are here.", info.Have, info.Chunks)
		}
		select {
		case <-ctx.Done():
			return info, ctx.Err()
		case <-time.After(attachmentPoll):
		}
	}
}

// saveAttachment writes the file under another name first, so that one that is
// there under its own is whole.
func saveAttachment(ctx context.Context, client *api.Client, info node.AttachmentInfo, path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tocsin-*")
	if err != nil {
		return fail(exitInput, "Check that the directory is there and can be written.", "the file cannot be made: %w", err)
	}
	err = client.ReadAttachment(ctx, info.ID, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		if gone := os.Remove(f.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return fmt.Errorf("%s was not saved: %w", path, err)
	}
	return nil
}
