package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/node/record"
)

// Reading back what an endpoint holds of an incident, from the outside: with no node and nothing of what was sent, so that what is verified is
// the record's and not ours.

// fetchTypes are the types of resources that carry the incident's tag (node/record, MAPPING.md).
var fetchTypes = []string{"Composition", "Communication", "CommunicationRequest", "Task", "Observation", "DocumentReference", "PractitionerRole",
	"AuditEvent", "Provenance"}

const (
	fetchPage  = 500       // resources of one page of a search
	fetchBatch = 50        // reads of one batch
	maxAnswer  = 192 << 20 // bytes of one answer
	maxFetched = 2_000_000 // resources of one incident
)

func (a *app) recordFetch() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "fetch GROUP-ID",
		Short: "Fetch from the medical record what it holds of an incident, for 'tocsin verify'",
		Long: `Fetch from the medical record what it holds of an incident, by search, into one file that
'tocsin verify' checks. GROUP-ID is the id that 'tocsin groups --json' and 'tocsin record queue'
show. It needs no node and no passphrase: whoever may read the record can do it.`,
		Example: "  tocsin record fetch 5f3a…c1 --record-url https://record.nhs.example/fhir/R4 --out returned.json\n  tocsin verify returned.json --trust trust.pem",
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, given []string) error {
			if id, err := hex.DecodeString(given[0]); err != nil || len(id) != 32 {
				return usage("Copy the whole id from 'tocsin record queue --json'.", "%q is no id of a group: 64 hexadecimal characters", given[0])
			}
			c, err := a.load()
			if err != nil {
				return err
			}
			e, err := a.recordEndpoint(c)
			if err != nil {
				return err
			}
			return a.fetchRecord(cmd.Context(), e, strings.ToLower(given[0]), out)
		},
	}
	cmd.Flags().StringVar(&out, "out", "returned.json", "the `file` to write")
	a.addRecordFlags(cmd.Flags())
	return cmd
}

func (a *app) fetchRecord(ctx context.Context, e *recordEndpoint, group, out string) error {
	f := &fetcher{recordEndpoint: e, seen: make(map[string]bool), asked: make(map[string]bool)}
	err := writeWhole(out, func(w io.Writer) error {
		f.out = bufio.NewWriter(w)
		return f.incident(ctx, group)
	})
	if err != nil {
		return fail(exitFailed, "Check the address, the token and the group's id.", "the record was not fetched: %w", err)
	}
	return a.emit(map[string]any{"path": out, "resources": len(f.seen), "by_type": f.counts}, func() {
		a.say("%s: %s of the record.", out, plural(len(f.seen), "resource"))
		a.note("Whoever has this file reads the messages. 'tocsin verify %s' checks it.", out)
	})
}

// writeWhole writes a file that appears when it is whole, readable by its owner alone.
func writeWhole(path string, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(fill(f), f.Sync()); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// fetcher reads one incident. It believes nothing of what it gets: 'tocsin verify' does the checking.
type fetcher struct {
	*recordEndpoint
	out    *bufio.Writer
	seen   map[string]bool // Type/id, of everything written
	wanted []string        // Type/id that was pointed at
	asked  map[string]bool // of them, those that are or were in wanted
	counts map[string]int
}

func (f *fetcher) incident(ctx context.Context, group string) error {
	f.counts = make(map[string]int)
	if _, err := f.out.WriteString(`{"resourceType":"Bundle","type":"collection","entry":[`); err != nil {
		return err
	}
	for _, kind := range fetchTypes {
		if err := f.search(ctx, kind, group); err != nil {
			return err
		}
	}
	for len(f.wanted) > 0 { // what was read points at more
		var part []string
		for ; len(f.wanted) > 0 && len(part) < fetchBatch; f.wanted = f.wanted[1:] {
			if !f.seen[f.wanted[0]] {
				part = append(part, f.wanted[0])
			}
		}
		if len(part) == 0 {
			continue
		}
		if err := f.read(ctx, part); err != nil {
			return err
		}
	}
	if len(f.seen) == 0 {
		return errors.New("the record holds nothing of this incident")
	}
	if _, err := f.out.WriteString("\n]}\n"); err != nil {
		return err
	}
	return f.out.Flush()
}

// fetched is as much of an answer as is needed here.
type fetched struct {
	ResourceType string `json:"resourceType"`
	Link         []struct{ Relation, URL string }
	Entry        []struct{ Resource json.RawMessage }
}

// search fetches every page of the resources of a type that carry the incident's tag.
func (f *fetcher) search(ctx context.Context, kind, group string) error {
	query := url.Values{"_tag": {record.SystemIncident + "|" + group}, "_count": {fmt.Sprint(fetchPage)}}
	for next := f.url + "/" + kind + "?" + query.Encode(); next != ""; {
		page, err := f.ask(ctx, http.MethodGet, next, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		before := len(f.seen)
		for _, e := range page.Entry {
			if err := f.take(e.Resource); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
		if next = following(page); next == "" {
			return nil
		}
		if len(f.seen) == before {
			return fmt.Errorf("%s: the endpoint names another page and repeats what it said", kind)
		}
		if !strings.HasPrefix(next, f.url) {
			return errors.New("the endpoint sends us elsewhere for the next page; patient data is read where we were told to")
		}
	}
	return nil
}

func following(page *fetched) string {
	for _, l := range page.Link {
		if l.Relation == "next" {
			return l.URL
		}
	}
	return ""
}

// read fetches resources by their names.
func (f *fetcher) read(ctx context.Context, names []string) error {
	var b struct {
		ResourceType string `json:"resourceType"`
		Type         string `json:"type"`
		Entry        []any  `json:"entry"`
	}
	b.ResourceType, b.Type = "Bundle", "batch"
	for _, name := range names {
		b.Entry = append(b.Entry, map[string]any{"request": map[string]string{"method": "GET", "url": name}})
	}
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	page, err := f.ask(ctx, http.MethodPost, f.url, body)
	if err != nil {
		return err
	}
	if len(page.Entry) != len(names) {
		return fmt.Errorf("the endpoint gave %d answers to %d questions", len(page.Entry), len(names))
	}
	for i, e := range page.Entry {
		if len(e.Resource) == 0 {
			return fmt.Errorf("%s is pointed at, and the record does not return it", names[i])
		}
		if err := f.take(e.Resource); err != nil {
			return err
		}
	}
	return nil
}

// placeName is the name of a resource at an endpoint, as others point at it.
var placeName = regexp.MustCompile(`"(?:reference|url)":\s*"((?:[A-Z][A-Za-z]{2,40})/[A-Za-z0-9.\-]{1,64})"`)

// take writes a resource, and notes what it points at.
func (f *fetcher) take(raw json.RawMessage) error {
	var head struct{ ResourceType, ID string }
	if err := json.Unmarshal(raw, &head); err != nil || head.ResourceType == "" || head.ID == "" {
		return errors.New("the endpoint returned something that is no resource")
	}
	name := head.ResourceType + "/" + head.ID
	if f.seen[name] {
		return nil
	}
	if len(f.seen) >= maxFetched {
		return fmt.Errorf("the record returns more than %d resources", maxFetched)
	}
	separator := ",\n"
	if len(f.seen) == 0 {
		separator = "\n"
	}
	f.seen[name] = true
	f.counts[head.ResourceType]++
	entry, err := json.Marshal(map[string]any{"fullUrl": f.url + "/" + name, "resource": raw})
	if err != nil {
		return err
	}
	for _, m := range placeName.FindAllSubmatch(raw, -1) {
		if to := string(m[1]); !f.asked[to] {
			f.asked[to] = true
			f.wanted = append(f.wanted, to)
		}
	}
	_, err = f.out.WriteString(separator + string(entry))
	return err
}

// ask sends one request and reads a Bundle.
func (f *fetcher) ask(ctx context.Context, method, address string, body []byte) (*fetched, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/fhir+json")
	if body != nil {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	if f.token != nil {
		token, err := f.token()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := f.http.Do(req)
	if err != nil {
		var where *url.Error
		if errors.As(err, &where) { // its query is nobody's business
			err = where.Err
		}
		return nil, fmt.Errorf("the endpoint does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the endpoint answers HTTP %d", resp.StatusCode)
	}
	var page fetched
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxAnswer)).Decode(&page); err != nil || page.ResourceType != "Bundle" {
		return nil, errors.Join(errors.New("what the endpoint answers is no Bundle"), err)
	}
	return &page, nil
}
