package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"tocsin/node/message"
)

// honest is a package of the scene with its proofs, and its world.
func honest(t testing.TB) (*world, string) {
	t.Helper()
	w := newWorld(t)
	x, err := New(incident(scenes(t, w.nodes[0].writer, w.nodes[1].writer)...), w.witnessed())
	must(t, err)
	var doc bytes.Buffer
	_, err = x.Document(&doc)
	must(t, err)
	return w, doc.String()
}

// A forged resource beside the honest one of the same message is found, whichever stands first, and so is a second proof.
func TestPackageTwice(t *testing.T) {
	w, doc := honest(t)
	const begins = `"entry":[`
	var dose, proof string
	must(t, readBundle(strings.NewReader(doc), func(string, any) {}, func(raw json.RawMessage) error {
		switch text := string(raw); {
		case strings.Contains(text, `"contentString":"Give 50 mg"`):
			dose = text
		case proof == "" && strings.Contains(text, `"description":"Proof of entry `):
			proof = text
		}
		return nil
	}))
	forged := strings.Replace(dose, `"contentString":"Give 50 mg"`, `"contentString":"Give 5 mg"`, 1)
	second := strings.Replace(proof, `"url":"urn:uuid:`, `"url":"urn:uuid:0`, 1)
	if dose == "" || forged == dose || second == proof {
		t.Fatal("there was nothing to forge")
	}
	end := strings.LastIndex(doc, "\n]}")
	for name, altered := range map[string]string{
		"a forgery before": strings.Replace(doc, begins, begins+forged+",", 1),
		"a forgery behind": doc[:end] + "," + forged + doc[end:],
		"a second proof":   doc[:end] + "," + second + doc[end:],
	} {
		rep, err := VerifyPackage(strings.NewReader(altered), w.trust)
		must(t, err)
		if len(rep.Faults) == 0 {
			t.Errorf("%s was not noticed", name)
		}
	}
	rep, err := VerifyPackage(strings.NewReader(doc), w.trust)
	must(t, err)
	if len(rep.Faults) > 0 || rep.Proved == 0 {
		t.Errorf("the control: %+v", rep)
	}
}

// FuzzMembers: what is found of an object without reading all of it is what package json finds.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, ` { "a" : [1, {"b":"]"}] , "c\u0041":"x\\\"y" , "d":null,"e":-1.5e3,"a":true}`, `{"a":{"b":{}},"b":"\\"}`, `[1]`, `"x"`,
		`{"resource":{"resourceType":"Binary","data":"dG9j"},"fullUrl":"urn:uuid:1"}`, "{\"\xff\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := members(raw) // of what is no JSON it may say anything, and must end
		if !json.Valid(raw) {
			return
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil {
			want = nil
		}
		if len(got) != len(want) {
			t.Fatalf("%d members, want %d", len(got), len(want))
		}
		for name, value := range want {
			if !reflect.DeepEqual(string(got[name]), string(value)) {
				t.Errorf("%q is %s, want %s", name, got[name], value)
			}
			var s string
			if json.Unmarshal(value, &s) != nil {
				s = ""
			}
			if plainString(got[name]) != s {
				t.Errorf("%q is the string %q, want %q", name, plainString(got[name]), s)
			}
		}
	})
}

// The bytes of a file are held against its document, by whichever name the package calls it: its own, or the endpoint's.
func TestPackageFiles(t *testing.T) {
	w, doc := honest(t)
	sum := base64.StdEncoding.EncodeToString(file)
	if strings.Count(doc, sum) != 1 {
		t.Fatal("the file is not in the package once")
	}
	other := append([]byte{file[0] ^ 1}, file[1:]...)
	rep, err := VerifyPackage(strings.NewReader(doc), w.trust)
	must(t, err)
	if len(rep.Faults) > 0 || rep.Files != rep.Proved+1 || rep.Exercise {
		t.Fatalf("the control: %+v", rep)
	}
	var binary struct{ FullURL, ID string }
	must(t, readBundle(strings.NewReader(doc), func(string, any) {}, func(raw json.RawMessage) error {
		if strings.Contains(string(raw), sum) {
			e := members(raw)
			binary.FullURL, binary.ID = plainString(e["fullUrl"]), plainString(members(e["resource"])["id"])
		}
		return nil
	}))
	returned := strings.ReplaceAll(doc, `"url":"`+binary.FullURL+`"`, `"url":"Binary/`+binary.ID+`"`)
	returned = strings.ReplaceAll(returned, `"fullUrl":"`+binary.FullURL+`",`, "")
	for name, honest := range map[string]string{"as exported": doc, "as an endpoint returns it": returned} {
		for what, altered := range map[string]string{
			"another file": strings.Replace(honest, sum, base64.StdEncoding.EncodeToString(other), 1),
			"no base64":    strings.Replace(honest, sum, "=="+sum, 1),
			"nothing":      strings.Replace(honest, sum, "", 1),
		} {
			rep, err := VerifyPackage(strings.NewReader(altered), w.trust)
			must(t, err)
			if len(rep.Faults) != 1 || rep.Faults[0].Rule != RuleContent {
				t.Errorf("%s, %s: %+v", name, what, rep.Faults)
			}
		}
		rep, err := VerifyPackage(strings.NewReader(honest), w.trust)
		must(t, err)
		if len(rep.Faults) > 0 {
			t.Errorf("%s: %+v", name, rep.Faults)
		}
	}
}

// A package says whether it is an exercise, and one live message in it makes it none.
func TestPackageExercise(t *testing.T) {
	in := incident(scene(t)...)
	in.Mode = message.Exercise
	x, err := New(in, files())
	must(t, err)
	var doc bytes.Buffer
	_, err = x.Document(&doc)
	must(t, err)
	trust := newWorld(t).trust
	rep, err := VerifyPackage(bytes.NewReader(doc.Bytes()), trust)
	must(t, err)
	if !rep.Exercise {
		t.Error("an exercise is not said to be one")
	}
	at := strings.Index(doc.String(), `"resourceType":"Communication"`)
	live := doc.String()[:at] + strings.Replace(doc.String()[at:], `"code":"HTEST"`, `"code":"HREAL"`, 1)
	if rep, err = VerifyPackage(strings.NewReader(live), trust); err != nil || rep.Exercise {
		t.Errorf("one message is live, and all are said to be an exercise: %v", err)
	}
}
