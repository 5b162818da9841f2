package identity

import (
	"strings"
	"testing"
)

func TestLogID(t *testing.T) {
	id := LogID{Author: Key{0: 0xab, 31: 1}, Incarnation: 70000}
	b := id.Bytes()
	back, err := LogIDFromBytes(b[:])
	if err != nil || back != id {
		t.Errorf("bytes read back as %v, %v", back, err)
	}
	if _, err := LogIDFromBytes(b[:35]); err == nil {
		t.Error("35 bytes are a log id")
	}
	text, err := id.MarshalText()
	if err != nil || string(text) != "ab"+strings.Repeat("0", 60)+"01/70000" {
		t.Errorf("text %s, %v", text, err)
	}
	var again LogID
	if err := again.UnmarshalText(text); err != nil || again != id {
		t.Errorf("text reads back as %v, %v", again, err)
	}
	other := LogID{Author: id.Author, Incarnation: 1}
	if id.Compare(other) != 1 || other.Compare(id) != -1 || id.Compare(id) != 0 || (LogID{}).Compare(id) != -1 {
		t.Error("logs are out of order")
	}
	if id.Short() == other.Short() || (Key{}).IsZero() == id.Author.IsZero() {
		t.Error("short names collide, or a key is zero")
	}
	author := strings.Repeat("ab", 32)
	for _, s := range []string{
		"", author, author + "/", author + "/-1", author + "/01", author + "/+1", author + "/4294967296",
		strings.ToUpper(author) + "/1", author[2:] + "/1", author + "ab/1", author + "/1/2", " " + author + "/1",
	} {
		if id, err := ParseLogID(s); err == nil || id != (LogID{}) || again.UnmarshalText([]byte(s)) == nil {
			t.Errorf("%q is a log id", s)
		}
	}
}

func FuzzParseLogID(f *testing.F) {
	f.Add(strings.Repeat("ab", 32) + "/7")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseLogID(s); err == nil && id.String() != s {
			t.Errorf("%q reads back as %q", s, id)
		}
	})
}
