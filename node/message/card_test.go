package message

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const cardText = "# cards\nrole: all\ntitle: Everybody\n- Wear your badge\n\nrole: medical-registrar\r\ntitle: Medical registrar on call\nwhen: A major incident is declared\n- Go to ED\n- Report: to the consultant\n"

func TestCards(t *testing.T) {
	cards, err := ParseCards([]byte(cardText))
	if err != nil || len(cards) != 2 || cards[1].When != "A major incident is declared" || cards[1].Steps[1] != "Report: to the consultant" || cards[0].Role != RoleAll {
		t.Fatalf("%+v, %v", cards, err)
	}
	var many, long strings.Builder
	for i := range MaxCards + 1 {
		fmt.Fprintf(&many, "role: r-%d\ntitle: x\n- y\n", i)
	}
	long.WriteString("role: all\ntitle: x\n")
	for range MaxCardSteps + 1 {
		long.WriteString("- y\n")
	}
	for want, text := range map[string]string{
		"there is no card":      "# only a remark\n",
		"line 1":                "- a step of no card\n",
		"line 2":                "role: all\nTitle: x\n",
		"line 3":                "role: all\ntitle: x\ntitle: y\n",
		"is no role":            "role: Medical Registrar\n",
		"second card of all":    cardText + "role: all\n",
		"has no title":          "role: all\n- x\n",
		"has no steps":          "role: all\ntitle: x\n",
		"hidden character":      "role: all\ntitle: x\n- give 5\u202e0 mg\n",
		"another alphabet":      "role: all\ntitle: p\u0430racetamol\n",
		"must say 1 to":         "role: all\ntitle:\n",
		"at most 64 fit":        many.String(),
		"step 65 of a card":     long.String(),
		"at most 49152 are":     strings.Repeat("#", MaxCardFile+1),
		"is not valid UTF-8":    "role: all\ntitle: \xff\n",
		"stands before the":     "title: x\n",
		"is neither a step aft": "role: all\nsteps\n",
	} {
		if _, err := ParseCards([]byte(text)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func FuzzCards(f *testing.F) {
	f.Add([]byte(cardText))
	f.Add([]byte("role: all\ntitle: x\n- y"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cards, err := ParseCards(text)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, c := range cards {
			fmt.Fprintf(&again, "role: %s\ntitle: %s\n", c.Role, c.Title)
			if c.When != "" {
				fmt.Fprintf(&again, "when: %s\n", c.When)
			}
			for _, s := range c.Steps {
				fmt.Fprintf(&again, "- %s\n", s)
			}
		}
		if same, err := ParseCards([]byte(again.String())); err != nil && again.Len() <= MaxCardFile || err == nil && fmt.Sprint(same) != fmt.Sprint(cards) {
			t.Errorf("%q comes back as %q, %v", cards, same, err)
		}
	})
}
