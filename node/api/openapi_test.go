package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"tocsin/node"
)

// described is openapi.yaml as far as the tests look at it.
type described struct {
	doc     map[string]any
	schemas map[string]any
}

func readDescription(t *testing.T) described {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(description, &doc); err != nil {
		t.Fatal(err)
	}
	return described{doc, dig(t, doc, "components", "schemas")}
}

// dig goes down a path of maps.
func dig(t *testing.T, from map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, p := range path {
		next, ok := from[p].(map[string]any)
		if !ok {
			t.Fatalf("the description has no %s in %s", p, strings.Join(path, "/"))
		}
		from = next
	}
	return from
}

// operations lists "METHOD /path" for each operation described.
func (d described) operations(t *testing.T) map[string]map[string]any {
	out := map[string]map[string]any{}
	for path := range dig(t, d.doc, "paths") {
		for method, op := range dig(t, d.doc, "paths", path) {
			if method != "parameters" {
				out[strings.ToUpper(method)+" "+path] = op.(map[string]any)
			}
		}
	}
	return out
}

func TestDescriptionHasEveryRoute(t *testing.T) {
	b := newBench(t)
	operations := readDescription(t).operations(t)
	routes := map[string]route{}
	for _, rt := range b.table() {
		routes[rt.method+" "+rt.path] = rt
	}
	for name := range routes {
		if operations[name] == nil {
			t.Errorf("%s is not in openapi.yaml", name)
		}
	}
	for name, op := range operations {
		rt, ok := routes[name]
		if !ok {
			t.Errorf("%s is in openapi.yaml and nowhere else", name)
			continue
		}
		if _, takes := op["requestBody"]; takes != (bodies[name] != "") {
			t.Errorf("%s: the description and the test disagree on whether it takes a body", name)
		}
		if op["summary"] == nil || dig(t, op, "responses")["default"] == nil {
			t.Errorf("%s has no summary, or no error", name)
		}
		if got := describedAccess(op, name); got != rt.access {
			t.Errorf("%s: the description says access %d, the route %d", name, got, rt.access)
		}
	}
}

// describedAccess reads who may use an operation from its security, which overrides that of the document.
func describedAccess(op map[string]any, name string) access {
	security, own := op["security"].([]any)
	switch text := fmt.Sprint(security); {
	case !own || name == "DELETE /v1/session": // that one needs a session by its nature
		return user
	case len(security) == 0:
		return anyone
	case text == "[map[bearer:[]]]":
		return script
	default:
		return access(255)
	}
}

// TestAnswersFitTheDescription runs every route and holds its answer against the schema, both ways: nothing required is missing,
// and nothing is answered that is not described.
func TestAnswersFitTheDescription(t *testing.T) {
	b := newBench(t)
	d := readDescription(t)
	operations := d.operations(t)
	for _, rt := range b.table() {
		name := rt.method + " " + rt.path
		if rt.path == "/v1/events" || name == "DELETE /v1/session" || strings.HasPrefix(rt.path, "/v1/lock") {
			continue
		}
		req := b.request(t, rt.method, rt.example(), b.body(t, name))
		if rt.access != anyone {
			b.bearer(req)
			b.again(req)
		}
		resp := b.do(t, req)
		content, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		answers := dig(t, operations[name], "responses")
		answer, ok := answers[fmt.Sprint(resp.StatusCode)].(map[string]any)
		if !ok {
			t.Errorf("%s answers %s, which is not described: %s", name, resp.Status, content)
			continue
		}
		if resp.StatusCode == http.StatusNoContent {
			continue
		}
		kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
		media, ok := answer["content"].(map[string]any)[kind].(map[string]any)
		if !ok {
			t.Errorf("%s answers %s, which is not described", name, kind)
			continue
		}
		if kind == "application/json" {
			var v any
			if err := json.Unmarshal(content, &v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			d.fits(t, name, v, media["schema"].(map[string]any))
		}
	}
	d.fits(t, "error", map[string]any{"error": map[string]any{"code": "x", "message": "y", "hint": "z"}}, map[string]any{"$ref": "#/components/schemas/Error"})
}

// body is what a route takes; a one-time code is made afresh.
func (b *bench) body(t *testing.T, name string) string {
	t.Helper()
	if name != "POST /v1/session" {
		return bodies[name]
	}
	code, _, err := b.keys.newCode()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"code":%q}`, code)
}

// fits checks a value against a schema: types, required and unknown fields, enumerations.
func (d described) fits(t *testing.T, where string, v any, schema map[string]any) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		schema, ok = d.schemas[name].(map[string]any)
		if !ok {
			t.Fatalf("%s: no schema %s", where, name)
		}
	}
	if either, ok := schema["oneOf"].([]any); ok {
		if v == nil {
			return
		}
		schema = either[0].(map[string]any)
		d.fits(t, where, v, schema)
		return
	}
	d.fitsType(t, where, v, schema)
	if allowed, ok := schema["enum"].([]any); ok && !slices.Contains(allowed, v) {
		t.Errorf("%s is %v, described are %v", where, v, allowed)
	}
}

func (d described) fitsType(t *testing.T, where string, v any, schema map[string]any) {
	t.Helper()
	kinds, ok := schema["type"].([]any)
	if !ok {
		kinds = []any{schema["type"]}
	}
	var kind string
	switch x := v.(type) {
	case nil:
		kind = "null"
	case bool:
		kind = "boolean"
	case string:
		kind = "string"
	case float64:
		kind = "number"
		if x == float64(int64(x)) && !slices.Contains(kinds, any("number")) {
			kind = "integer"
		}
	case []any:
		kind = "array"
		for i, item := range x {
			d.fits(t, fmt.Sprintf("%s[%d]", where, i), item, schema["items"].(map[string]any))
		}
	case map[string]any:
		kind = "object"
		d.fitsObject(t, where, x, schema)
	}
	if !slices.Contains(kinds, any(kind)) {
		t.Errorf("%s is a %s, described as %v", where, kind, kinds)
	}
}

func (d described) fitsObject(t *testing.T, where string, v map[string]any, schema map[string]any) {
	t.Helper()
	properties, described := schema["properties"].(map[string]any)
	if !described {
		return // a map
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			t.Errorf("%s lacks %s", where, name)
		}
	}
	for name, value := range v {
		schema, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not described", where, name)
			continue
		}
		d.fits(t, where+"."+name, value, schema)
	}
}

// TestSchemasFitTheTypes holds the schemas against the Go types, also where no answer of the test happens to fill them.
func TestSchemasFitTheTypes(t *testing.T) {
	d := readDescription(t)
	for name, v := range map[string]any{
		"Health": Health{}, "Peers": Peers{}, "Peer": Peer{}, "Cut": Cut{}, "People": People{}, "Groups": Groups{}, "Group": Group{}, "Last": Last{},
		"Author": Author{}, "Messages": Messages{}, "Message": Message{}, "SendText": SendText{}, "Logs": Logs{}, "LogEntries": LogEntries{},
		"Verified": Verified{}, "VerifyProblem": VerifyProblem{}, "Unlock": Unlock{}, "Mesh": Mesh{}, "AddMember": AddMember{},
		"Reauth": node.Reauth{}, "SetPIN": SetPIN{}, "ChangePassphrase": ChangePassphrase{}, "Wipe": Wipe{}, "Statements": Statements{},
		"Statement": Statement{}, "StatementInfo": node.StatementInfo{}, "Meeting": Meeting{}, "VerifyScan": VerifyScan{}, "VerifyDigits": VerifyDigits{},
		"PersonDigits": node.PersonDigits{}, "QRTexts": QRTexts{}, "SponsorRequest": SponsorRequest{}, "SponsorAnswer": node.SponsorAnswer{},
		"SponsorRevoke": SponsorRevoke{}, "SponsorAsk": SponsorAsk{}, "SponsorView": node.SponsorView{}, "RawStatements": RawStatements{}, "SetRole": SetRole{}, "Roster": Roster{}, "Member": node.Member{}, "HandOver": HandOver{},
		"HandedOver": HandedOver{}, "Erase": Erase{}, "Erased": node.Erased{}, "Broadcast": Broadcast{}, "Standing": node.Standing{},
		"RevocationAge": node.RevocationAge{}, "Declared": node.Declared{}, "Spoiler": node.Spoiler{}, "Sponsored": node.Sponsored{}, "WipeState": node.WipeState{},
		"ExportBundle": ExportBundle{}, "ImportBundle": ImportBundle{}, "BundleInfo": node.BundleInfo{}, "BundleReport": node.BundleReport{},
		"PaperSpec": node.PaperSpec{}, "PaperInfo": node.PaperInfo{}, "ImportPaper": ImportPaper{}, "PaperReport": node.PaperReport{},
		"PaperSheet": node.PaperSheet{}, "WrongCode": node.WrongCode{},
		"Attached": Attached{}, "Attachments": Attachments{}, "AttachmentInfo": node.AttachmentInfo{}, "AttachmentStatus": node.AttachmentStatus{},
		"SetLowBandwidth": SetLowBandwidth{}, "LowBandwidth": node.ThriftState{},
		"Forks": Forks{}, "Fork": node.Fork{}, "ForkBranch": node.ForkBranch{}, "ForkEntry": node.ForkEntry{}, "ForkState": node.ForkState{},
		"Prove": Prove{}, "Proof": Proof{}, "Kinds": Kinds{}, "Kind": Kind{}, "Field": Field{}, "Choice": Choice{}, "Draft": Draft{}, "DraftView": DraftView{},
		"Identifier": Identifier{}, "Found": Found{}, "Board": Board{}, "Incident": Incident{}, "CallOut": CallOut{}, "Answered": Answered{}, "Skill": Skill{},
		"Alert": Alert{}, "Casualty": Casualty{}, "Task": Task{}, "Decision": Decision{}, "Duty": Duty{}, "Holder": Holder{},
		"Addressee": Addressee{}, "Named": Named{}, "IncidentStep": IncidentStep{}, "Timeline": Timeline{}, "TimelineEvent": TimelineEvent{}, "Cards": Cards{}, "Card": Card{},
		"SetCards": SetCards{}, "Sent": node.Sent{},
		"TransferQueue": TransferQueue{}, "TransferCounts": node.TransferCounts{}, "TransferGroup": node.TransferGroup{}, "TransferProgress": node.TransferProgress{},
		"RefusedMessage": node.RefusedMessage{}, "TransferMessages": TransferMessages{}, "TransferItem": node.TransferItem{}, "Patient": node.Patient{},
		"Attribute": Attribute{}, "SignOff": SignOff{}, "RecordExport": node.RecordExport{}, "RetentionView": node.RetentionView{}, "SetRetention": SetRetention{},
		"Holds": Holds{}, "HoldView": node.HoldView{}, "PlaceHold": PlaceHold{}, "EndHold": EndHold{}, "OrderErasure": OrderErasure{}, "SettleIncident": SettleIncident{},
		"AccessSpec": node.AccessSpec{}, "AccessRedaction": node.AccessRedaction{}, "AccessFound": node.AccessFound{}, "AccessMessage": node.AccessMessage{},
		"AccessRelated": node.AccessRelated{}, "AccessSuggestion": node.AccessSuggestion{}, "AccessExport": node.AccessExport{},
		"Code": Code{}, "TakeCode": TakeCode{}, "Session": Session{},
		"Status": reflectOf(Node.Status), "Person": elem(People{}.People), "LogInfo": elem(Logs{}.Logs), "EntryInfo": elem(LogEntries{}.Entries),
		"Event": StreamEvent{}.Event,
	} {
		properties := slices.Sorted(maps.Keys(dig(t, d.schemas, name, "properties")))
		if fields := jsonFields(v); !slices.Equal(properties, fields) {
			t.Errorf("%s: described are %v, the type has %v", name, properties, fields)
		}
	}
}

func reflectOf(f any) any { return reflect.Zero(reflect.TypeOf(f).Out(0)).Interface() }

func elem[T any]([]T) any { var zero T; return zero }

func jsonFields(v any) []string {
	var out []string
	typ := reflect.TypeOf(v)
	for i := range typ.NumField() {
		if typ.Field(i).Anonymous {
			out = append(out, jsonFields(reflect.Zero(typ.Field(i).Type).Interface())...)
		}
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
