package record

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/record.md is for integrators: what it shows is held against the code, example by example.

func recordPage(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/record.md")
	must(t, err)
	return string(raw)
}

// blocks are the fenced blocks of a page whose first line begins with a language: what follows it there, and what is in them.
func blocks(page, language string) (out [][2]string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"([^\n]*)\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		out = append(out, [2]string{strings.TrimSpace(m[1]), m[2]})
	}
	return out
}

// Every JSON example is part of a golden file: of the resource in the place that it names, or the first of a type.
func TestRecordPageExamples(t *testing.T) {
	all := blocks(recordPage(t), "json")
	if len(all) < 4 {
		t.Fatalf("%d examples", len(all))
	}
	for _, b := range all {
		name, which, _ := strings.Cut(b[0], " ")
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		must(t, err)
		var golden []object
		must(t, json.Unmarshal(raw, &golden))
		var example, resource object
		if err := json.Unmarshal([]byte(b[1]), &example); err != nil {
			t.Errorf("the example of %s is no JSON: %v", b[0], err)
			continue
		}
		at, err := strconv.Atoi(which)
		for i, e := range golden {
			r := sub(e, "resource")
			if err == nil && i == at-1 || err != nil && resource == nil && str(r, "resourceType") == which {
				resource = r
			}
		}
		if resource == nil || !within(example, resource) {
			t.Errorf("the example of %s is not what the code makes", b[0])
		}
		for field := range example { // the test can fail
			spoilt := object{field: "other"}
			if within(spoilt, resource) {
				t.Errorf("%s: any %s would do", b[0], field)
			}
		}
	}
}

// The tables of the format stand in the page too, row by row: it is read where there is no network.
func TestRecordPageTables(t *testing.T) {
	page := recordPage(t)
	format, err := os.ReadFile("MAPPING.md")
	must(t, err)
	rows := 0
	for line := range strings.Lines(string(format)) {
		if strings.HasPrefix(line, "| ") {
			rows++
			if !strings.Contains(page, "\n"+line) {
				t.Errorf("docs/record.md lacks a row of MAPPING.md: %s", line)
			}
		}
	}
	if rows < 40 {
		t.Errorf("%d rows only", rows)
	}
	for what, limit := range map[string]string{"messages in one export": "200,000", "requests under way": strconv.Itoa(InFlight), "tries of one request": strconv.Itoa(maxTries) + ", ",
		"an answer of the endpoint": fmt.Sprintf("%d MiB", maxResponse>>20), "one proof": fmt.Sprintf("%d MiB", MaxProof>>20)} {
		if !strings.Contains(page, "| "+what+" | "+limit) {
			t.Errorf("the limit of %s is not %s in the page", what, limit)
		}
	}
	if !strings.Contains(page, fmt.Sprintf("at most %d resources each", DefaultBatch)) || MaxItems != 200_000 {
		t.Error("limits of the page are not those of the code")
	}
}

// uploaded sends the scene with its proofs to an endpoint, and returns the page with its entries' ids in place of the golden ones.
func uploaded(t *testing.T, endpoint string) (page string) {
	t.Helper()
	w := newWorld(t)
	items, golden := scenes(t, w.nodes[0].writer, w.nodes[1].writer), scene(t)
	x, err := New(incident(items...), w.witnessed())
	must(t, err)
	u := upload(t, x, nil)
	must(t, sender(t, endpoint, &wire{}).Run(t.Context(), u))
	whole(t, x, u)
	var names []string
	for i := range items {
		names = append(names, id(t, golden[i]).String(), id(t, items[i]).String())
	}
	return strings.NewReplacer(names...).Replace(recordPage(t))
}

// get does one request of the page.
func get(t *testing.T, endpoint, path string) []byte {
	t.Helper()
	kind, query, searched := strings.Cut(path, "?")
	if searched {
		name, value, _ := strings.Cut(query, "=")
		kind += "?" + name + "=" + url.QueryEscape(value)
	}
	resp, err := http.Get(endpoint + "/" + kind)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: HTTP %d %s", path, resp.StatusCode, body)
	}
	return body
}

// found are the resources of an answer to a search.
func found(t *testing.T, body []byte) (out []json.RawMessage) {
	t.Helper()
	must(t, readBundle(strings.NewReader(string(body)), func(string, any) {}, func(raw json.RawMessage) error {
		out = append(out, members(raw)["resource"])
		return nil
	}))
	return out
}

// Every search of the page finds what it says, and what is found satisfies the commands of the page; at an endpoint in memory, and at
// Medplum's.
func TestRecordPageSearches(t *testing.T) {
	for name, endpoint := range map[string]func(*testing.T) string{
		"in memory": func(t *testing.T) string { return serve(t, newMemory()) }, "Medplum": medplum,
	} {
		t.Run(name, func(t *testing.T) {
			at := endpoint(t)
			page := uploaded(t, at)
			saved := map[string]json.RawMessage{}
			searches := 0
			for _, b := range blocks(page, "http") {
				for line := range strings.Lines(b[1]) {
					path, more := strings.CutSuffix(strings.TrimPrefix(strings.TrimSpace(line), "GET [base]/"), " (more)")
					got := found(t, get(t, at, path))
					searches++
					if more && len(got) < 2 || !more && len(got) != 1 {
						t.Errorf("%s finds %d", path, len(got))
						continue
					}
					kind, _, _ := strings.Cut(path, "?")
					if _, there := saved[kind]; !there {
						saved[kind] = got[0]
					}
				}
			}
			if searches < 6 || len(saved["DocumentReference"]) == 0 {
				t.Fatalf("%d searches", searches)
			}
			followRecordPage(t, page, at, saved)
		})
	}
}

// followRecordPage runs the commands of the page on what the endpoint returned, and on what was changed: then they must fail.
func followRecordPage(t *testing.T, page, endpoint string, saved map[string]json.RawMessage) {
	t.Helper()
	var document object
	must(t, json.Unmarshal(saved["DocumentReference"], &document))
	binary := get(t, endpoint, str(sub(list(document, "content")[0], "attachment"), "url"))
	script := ""
	for _, b := range blocks(page, "bash") {
		script += b[1]
	}
	files := map[string]string{"communication.json": string(saved["Communication"]), "provenance.json": string(saved["Provenance"]), "binary.json": string(binary)}
	run := func(change func(map[string]string)) (string, error) {
		dir := t.TempDir()
		mine := map[string]string{}
		for name, text := range files {
			mine[name] = text
		}
		change(mine)
		for name, text := range mine {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		cmd := exec.Command("bash", "-c", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(func(map[string]string) {}); err != nil || !strings.Contains(out, "3 ok") {
		t.Fatalf("the commands of the page on what was returned: %v\n%s", err, out)
	}
	for name, change := range map[string]func(map[string]string){
		"another signature": func(f map[string]string) {
			f["provenance.json"] = regexp.MustCompile(`"data": ?"....`).ReplaceAllString(f["provenance.json"], `"data":"AAAA`)
		},
		"another header": func(f map[string]string) {
			f["provenance.json"] = regexp.MustCompile(`("valueBase64Binary": ?".{100})....`).ReplaceAllString(f["provenance.json"], "${1}AAAA")
		},
		"another entry": func(f map[string]string) {
			f["communication.json"] = regexp.MustCompile(`"[0-9a-f]{64}"`).ReplaceAllString(f["communication.json"], `"`+strings.Repeat("0", 64)+`"`)
		},
		"another proof": func(f map[string]string) {
			f["binary.json"] = regexp.MustCompile(`("data": ?".{60})....`).ReplaceAllString(f["binary.json"], "${1}AAAA")
		},
	} {
		if out, err := run(change); err == nil {
			t.Errorf("%s: the commands of the page find nothing wrong\n%s", name, out)
		}
	}
}
