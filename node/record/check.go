package record

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"tocsin/ledger"
	"tocsin/node/message"
)

// Our own checks of a Bundle: what neither of the usual validators finds (MAPPING.md, "Who finds what"). They read what was written and
// share nothing with the code that wrote it but the names of systems.

// Fault is one thing that is wrong with a Bundle.
type Fault struct {
	Rule  string // one of the Rule constants
	Where string // which entry, by its place and type
	What  string // in words, without content
}

// String is the fault in one line.
func (f Fault) String() string { return f.Where + ": " + f.What + " (" + f.Rule + ")" }

// The rules.
const (
	RuleJSON       = "json"       // it is a Bundle in JSON
	RuleFullURL    = "full-url"   // every entry has a name of its own
	RuleReference  = "reference"  // every reference leads somewhere
	RuleNHSNumber  = "nhs-number" // check digit and verification status
	RuleContent    = "sha-256"    // a file is what its document says
	RuleNarrative  = "narrative"  // a person can read it, and nothing in it runs
	RuleExercise   = "exercise"   // all are marked as exercise, or none
	RuleDocument   = "document"   // it begins with a Composition, has an identifier and a time
	RuleRequest    = "request"    // sending it twice makes nothing twice
	RuleIdentifier = "identifier" // no two resources are the same message
	RuleProof      = "proof"      // a proof is of the entry that it stands by
	RuleProvenance = "provenance" // every message has one
)

// plainTags are all that a narrative of ours holds. Text is escaped, so that a "<" begins one of these or is none of ours: nothing runs, and
// nothing is fetched.
var plainTags = []string{divOpen, "</div>", "<p>", "</p>", "<b>", "</b>", "<br/>", "<table>", "</table>", "<tbody>", "</tbody>", "<tr>", "</tr>", "<th>", "</th>",
	"<td>", "</td>", "<ul>", "</ul>", "<li>", "</li>"}

var tags = regexp.MustCompile(`<[^>]*>?`)

// maxFaults bounds what one check reports.
const maxFaults = 100

// checker holds what is seen of a Bundle on the way.
type checker struct {
	faults     []Fault
	kind       string // of the Bundle
	urls       map[string]string
	pointers   []pointer
	binaries   map[string]fileSum // by fullUrl
	documents  []document
	entries    map[string]string // identifier → where
	firsts     map[string]string // fullUrl of what is a message → where
	targets    map[string]bool   // of Provenances
	exercises  int
	count      int
	hasHead    bool
	begins     string  // type of the first resource
	unsafe     []Fault // what is wrong with its entries if it is a transaction
	headMarked bool
}

type pointer struct{ where, to string }

type fileSum struct {
	size  int64
	sum   [32]byte
	proof string // entry id of a proof, if it is one
}

type document struct {
	where, url, sum, entry string
	size                   float64
	proof                  bool
}

// Check reads a document or transaction Bundle and returns what is wrong with it, nil for nothing. The error is that of r.
func Check(r io.Reader) ([]Fault, error) {
	c := &checker{urls: make(map[string]string), binaries: make(map[string]fileSum), entries: make(map[string]string),
		firsts: make(map[string]string), targets: make(map[string]bool)}
	err := readBundle(r, c.head, c.entry)
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.As(err, &mismatch), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errNoBundle):
		c.add(RuleJSON, "the file", "it is not a whole Bundle in JSON")
	case err != nil:
		return nil, err
	}
	c.finish()
	return c.faults, nil
}

func (c *checker) add(rule, where, format string, args ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, Fault{rule, where, fmt.Sprintf(format, args...)})
	}
}

// object is a JSON object.
type object = map[string]any

func str(o object, key string) string { s, _ := o[key].(string); return s }
func sub(o object, key string) object { s, _ := o[key].(object); return s }
func list(o object, key string) []object {
	var out []object
	items, _ := o[key].([]any)
	for _, v := range items {
		if m, ok := v.(object); ok {
			out = append(out, m)
		}
	}
	return out
}

// head takes the fields of the Bundle that are not entries.
func (c *checker) head(name string, value any) {
	switch name {
	case "type":
		c.kind, _ = value.(string)
	case "meta":
		o, _ := value.(object)
		c.headMarked = marked(o)
	case "identifier":
		c.hasHead = true
	}
}

func marked(meta object) bool {
	return slices.ContainsFunc(list(meta, "security"), func(o object) bool { return str(o, "code") == "HTEST" && str(o, "system") == codesActReason })
}

// entry takes one entry of the Bundle.
func (c *checker) entry(raw json.RawMessage) error {
	var e object
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	r := sub(e, "resource")
	kind, url := str(r, "resourceType"), str(e, "fullUrl")
	where := fmt.Sprintf("entry %d, %s", c.count, kind)
	switch first, ok := c.urls[url]; {
	case url == "":
		c.add(RuleFullURL, where, "it has no fullUrl")
	case ok:
		c.add(RuleFullURL, where, "its fullUrl is that of %s", first)
	default:
		c.urls[url] = where
	}
	if c.count == 0 {
		c.begins = kind
	}
	c.count++
	if marked(sub(r, "meta")) {
		c.exercises++
	}
	if why := request(kind, r, sub(e, "request")); why != "" && len(c.unsafe) < maxFaults {
		c.unsafe = append(c.unsafe, Fault{RuleRequest, where, why})
	}
	c.narrated(where, kind, r)
	c.names(where, kind, url, r)
	c.values(where, r)
	c.files(where, kind, url, r)
	if kind == "Provenance" {
		for _, t := range list(r, "target") {
			c.targets[str(t, "reference")] = true
		}
	}
	return nil
}

// request says why sending an entry of a transaction twice would make something twice, empty if it would not.
func request(kind string, r, q object) string {
	method, url, once := str(q, "method"), str(q, "url"), str(q, "ifNoneExist")
	switch {
	case q == nil:
		return "it does not say what is to be done with it"
	case method == "POST" && (url != kind || once == ""):
		return "it would be made anew each time: ifNoneExist is missing, or the type is another"
	case method == "PUT" && !strings.HasPrefix(url, kind+"?identifier=") && url != kind+"/"+str(r, "id"):
		return "it does not say which resource it replaces"
	case method != "POST" && method != "PUT":
		return "it is neither made nor replaced"
	}
	return ""
}

// narrated checks that a person can read the resource, and that reading it runs and fetches nothing.
func (c *checker) narrated(where, kind string, r object) {
	if kind == "Binary" {
		return
	}
	div := str(sub(r, "text"), "div")
	switch {
	case !strings.HasPrefix(div, divOpen) || !strings.HasSuffix(div, "</div>"):
		c.add(RuleNarrative, where, "no person can read it: it has no narrative")
	case slices.ContainsFunc(tags.FindAllString(div, -1), func(tag string) bool { return !slices.Contains(plainTags, tag) }):
		c.add(RuleNarrative, where, "its narrative holds something that runs or is fetched")
	}
}

// names checks identifiers: no two resources are the same message.
func (c *checker) names(where, kind, url string, r object) {
	for _, id := range list(r, "identifier") {
		system := str(id, "system")
		if system != SystemEntry && system != SystemPart {
			continue
		}
		key := system + "|" + str(id, "value")
		if first, ok := c.entries[key]; ok {
			c.add(RuleIdentifier, where, "it has the identifier of %s", first)
		}
		c.entries[key] = where
		if system == SystemEntry {
			c.firsts[url] = where
		}
	}
}

// values looks through everything in a resource for references and NHS numbers.
func (c *checker) values(where string, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			c.values(where, e)
		}
	case object:
		if to, ok := v["reference"].(string); ok {
			c.pointers = append(c.pointers, pointer{where, to})
		} else if _, has := v["display"]; has && v["type"] != nil && v["identifier"] == nil && v["system"] == nil && v["code"] == nil {
			if _, isType := v["type"].(string); isType {
				c.add(RuleReference, where, "a reference names nothing")
			}
		}
		if v["system"] == SystemNHS {
			c.number(where, v)
		}
		for _, e := range v {
			c.values(where, e)
		}
	}
}

// number checks one NHS number.
func (c *checker) number(where string, id object) {
	value := str(id, "value")
	if len(value) != 10 || !message.ValidNHSNumber(value) {
		c.add(RuleNHSNumber, where, "an NHS number is wrong: its check digit does not fit")
	}
	ok := slices.ContainsFunc(list(id, "extension"), func(e object) bool {
		for _, coding := range list(sub(e, "valueCodeableConcept"), "coding") {
			if str(e, "url") == extVerification && str(coding, "system") == codesVerify && slices.Contains([]string{"01", "02"}, str(coding, "code")) {
				return true
			}
		}
		return false
	})
	if !ok {
		c.add(RuleNHSNumber, where, "an NHS number does not say whether it was traced")
	}
}

// files notes what documents say of their files, and what the files are.
func (c *checker) files(where, kind, url string, r object) {
	switch kind {
	case "Binary":
		data, err := base64.StdEncoding.DecodeString(str(r, "data"))
		if err != nil || len(data) == 0 {
			c.add(RuleContent, where, "it holds no base64")
			return
		}
		f := fileSum{size: int64(len(data)), sum: sha256.Sum256(data)}
		if strings.HasPrefix(string(data[:min(len(data), 16)]), "tocsin-proof/") {
			f.proof = "unreadable"
			if p, err := ledger.ParseProof(data); err == nil {
				f.proof = hex.EncodeToString(leaf(p.Header))
			}
		}
		c.binaries[url] = f
	case "DocumentReference":
		for _, at := range list(r, "content") {
			a := sub(at, "attachment")
			d := document{where: where, url: str(a, "url")}
			d.size, _ = a["size"].(float64)
			for _, x := range list(a, "extension") {
				if str(x, "url") == extSHA256 {
					d.sum = str(x, "valueString")
				}
			}
			for _, id := range list(r, "identifier") {
				if value, ok := strings.CutSuffix(str(id, "value"), "-proof"); ok && str(id, "system") == SystemPart {
					d.proof, d.entry = true, value
				}
			}
			c.documents = append(c.documents, d)
			if d.url != "" {
				c.pointers = append(c.pointers, pointer{where, d.url})
			}
		}
	}
}

// leaf is an entry's id: SHA-256(0x00 ‖ header).
func leaf(header []byte) []byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(header)
	return h.Sum(nil)
}

// finish holds against each other what stood far apart.
func (c *checker) finish() {
	if c.kind != "document" && c.kind != "transaction" {
		c.add(RuleDocument, "the Bundle", "it is neither a document nor a transaction")
	}
	if c.kind == "transaction" {
		c.faults = append(c.faults, c.unsafe...)
	}
	if c.kind == "document" && c.begins != "Composition" {
		c.add(RuleDocument, "entry 0, "+c.begins, "a document begins with a Composition")
	}
	if c.kind == "document" && !c.hasHead {
		c.add(RuleDocument, "the Bundle", "a document needs an identifier")
	}
	for _, p := range c.pointers {
		if _, ok := c.urls[p.to]; !ok {
			c.add(RuleReference, p.where, "a reference leads nowhere in this Bundle")
		}
	}
	for _, d := range c.documents {
		c.file(d)
	}
	for url, where := range c.firsts {
		if !c.targets[url] {
			c.add(RuleProvenance, where, "nothing says who said it: it has no Provenance")
		}
	}
	if c.exercises != 0 && (c.exercises != c.count || c.kind == "document" && !c.headMarked) || c.exercises == 0 && c.headMarked {
		c.add(RuleExercise, "the Bundle", "%d of %d resources are marked as exercise: all must be, or none", c.exercises, c.count)
	}
}

// file holds a file against its document.
func (c *checker) file(d document) {
	if len(d.sum) != 64 {
		c.add(RuleContent, d.where, "it does not say the SHA-256 of its file")
		return
	}
	f, ok := c.binaries[d.url]
	if d.url == "" || !ok {
		return // not in this export, or a reference that leads nowhere
	}
	if hex.EncodeToString(f.sum[:]) != d.sum || int64(d.size) != f.size {
		c.add(RuleContent, d.where, "the file is not what the document says it is")
	}
	if d.proof && f.proof != d.entry {
		c.add(RuleProof, d.where, "the proof is of another entry")
	}
}
