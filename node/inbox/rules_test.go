package inbox

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tocsin/node/message"
)

// Each thing that does not fit what stands is refused in words, and what fits is not.
func TestCheck(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	amal, ben := message.PersonAddress("nhs.example/gmc/amal"), message.PersonAddress("nhs.example/gmc/ben")
	until := epoch.Add(5 * time.Hour)
	open := b.says("amal", &message.CallOut{Question: "q", Place: "p"})
	closed := b.says("amal", &message.CallOut{Question: "q", Place: "p"})
	b.says("amal", &message.CallOutClose{CallOut: id(closed)})
	task := b.says("amal", &message.Task{What: "w", To: ben})
	roleTask := b.says("amal", &message.Task{What: "w", To: message.RoleAddress("registrar")})
	done := b.says("amal", &message.Task{What: "w", To: ben})
	b.says("ben", &message.TaskUpdate{Task: id(done), State: message.TaskDone})
	alert := b.says("amal", &message.Alert{What: "w", Where: "w", To: []string{ben}})
	ended := b.says("amal", &message.Alert{What: "w", Where: "w", To: []string{ben}})
	b.says("amal", &message.AlertCancel{Alert: id(ended), Reason: "r"})
	b.says("chidi", &message.Role{Role: "registrar", Action: message.RoleTake, Until: until})
	incident := b.says("amal", &message.Incident{Name: "i", Mode: message.Exercise, State: message.IncidentDeclared})
	decision := b.says("amal", &message.Decision{Decision: "d", Decider: amal})
	text := b.says("ben", &message.Text{Body: "x"})
	report := b.says("ben", &message.METHANE{Location: "l"})

	type step struct {
		why  string
		who  string
		c    message.Content
		want string // part of the refusal; empty for none
	}
	for _, s := range []step{
		{"an answer", "ben", &message.CallOutAnswer{CallOut: id(open), Answer: message.AnswerLater}, ""},
		{"an answer to a closed one", "ben", &message.CallOutAnswer{CallOut: id(closed), Answer: message.AnswerLater}, "stand by"},
		{"an answer to nothing", "ben", &message.CallOutAnswer{CallOut: message.EntryID{9}, Answer: message.AnswerLater}, "no such call-out"},
		{"an answer to a text", "ben", &message.CallOutAnswer{CallOut: id(text), Answer: message.AnswerLater}, "no call-out"},
		{"closing twice", "amal", &message.CallOutClose{CallOut: id(closed)}, "closed by amal"},
		{"a task accepted", "ben", &message.TaskUpdate{Task: id(task), State: message.TaskAccepted}, ""},
		{"a task of a role accepted by its holder", "chidi", &message.TaskUpdate{Task: id(roleTask), State: message.TaskAccepted}, ""},
		{"a task of a role accepted by another", "ben", &message.TaskUpdate{Task: id(roleTask), State: message.TaskAccepted}, "for the registrar"},
		{"another's task", "chidi", &message.TaskUpdate{Task: id(task), State: message.TaskAccepted}, "for ben"},
		{"a task taken back", "ben", &message.TaskUpdate{Task: id(done), State: message.TaskAccepted}, "done already"},
		{"a task that is none", "ben", &message.TaskUpdate{Task: id(text), State: message.TaskAccepted}, "no task"},
		{"an alert that is routine", "ben", &message.Alert{}, "stat"},
		{"an alert cancelled by another", "ben", &message.AlertCancel{Alert: id(alert)}, "acknowledge"},
		{"an alert cancelled", "amal", &message.AlertCancel{Alert: id(alert)}, ""},
		{"an alert cancelled twice", "amal", &message.AlertCancel{Alert: id(ended)}, "ended already"},
		{"an escalation", "ben", &message.Escalation{Alert: id(alert)}, ""},
		{"an escalation of what has ended", "ben", &message.Escalation{Alert: id(ended)}, "ended"},
		{"acknowledging", "ben", &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{id(alert)}}, ""},
		{"acknowledging nothing", "ben", &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{{9}}}, "no message"},
		{"declared live in an exercise", "amal", &message.Incident{Mode: message.Live, State: message.IncidentStoodDown}, "an exercise"},
		{"stood down", "amal", &message.Incident{Mode: message.Exercise, State: message.IncidentStoodDown}, ""},
		{"back to standby", "amal", &message.Incident{Mode: message.Exercise, State: message.IncidentStandby}, "declared now"},
		{"stood down by who does not run it", "ben", &message.Incident{Mode: message.Exercise, State: message.IncidentStoodDown}, "runs"},
		{"giving up a role not held", "ben", &message.Role{Role: "registrar", Action: message.RoleRelease}, "do not hold"},
		{"handing over a role not held", "ben", &message.Role{Role: "loggist", Action: message.RoleHandOver, To: amal}, "do not hold"},
		{"taking a role that is held", "ben", &message.Role{Role: "registrar", Action: message.RoleTake, Until: until}, "chidi is registrar"},
		{"taking a free role", "ben", &message.Role{Role: "loggist", Action: message.RoleTake, Until: until}, ""},
		{"taking a role for ever", "ben", &message.Role{Role: "loggist", Action: message.RoleTake, Until: until.Add(100 * time.Hour)}, "48 hours"},
		{"taking a role that has ended", "ben", &message.Role{Role: "loggist", Action: message.RoleTake, Until: epoch}, "in the past"},
		{"retracting", "ben", &message.Retract{Entry: id(text)}, ""},
		{"retracting another's", "amal", &message.Retract{Entry: id(text)}, "only its author"},
		{"a newer report", "amal", &message.METHANE{Supersedes: id(report)}, ""},
		{"a newer report of a text", "amal", &message.METHANE{Supersedes: id(text)}, "M/ETHANE"},
		{"a correction of a text", "amal", &message.Decision{Corrects: id(text)}, "decision"},
		{"a decision", "amal", &message.Decision{Decider: amal}, ""},
		{"a decision of tomorrow", "amal", &message.Decision{Decider: amal, At: epoch.Add(24 * time.Hour)}, "still to come"},
		{"another's decision", "ben", &message.Decision{Decider: amal}, "loggist"},
		{"another's decision, by the loggist", "ben", &message.Decision{Decider: amal, Loggist: ben}, ""},
		{"one's own decision, by a loggist who is another", "amal", &message.Decision{Decider: amal, Loggist: ben}, "loggist"},
		{"retracting a decision", "amal", &message.Retract{Entry: id(decision)}, "correct it"},
		{"retracting an incident", "amal", &message.Retract{Entry: id(incident)}, "stand it down"},
	} {
		err := b.in.Check(Saying{Group: b.group, From: person(s.who), Admin: s.who == "amal", Content: s.c, Priority: "routine", Now: epoch.Add(time.Hour)})
		switch {
		case s.want == "" && err != nil:
			t.Errorf("%s: %v", s.why, err)
		case s.want != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), s.want)):
			t.Errorf("%s: %v, want %q", s.why, err, s.want)
		}
	}
	// A role that was offered is there to be taken.
	b.says("chidi", &message.Role{Role: "registrar", Action: message.RoleHandOver, To: ben})
	if err := b.in.Check(Saying{Group: b.group, From: person("ben"), Content: &message.Role{Role: "registrar", Action: message.RoleTake, Until: until},
		Now: epoch.Add(time.Hour)}); err != nil {
		t.Errorf("taking a role that was handed over: %v", err)
	}
	// Of another group nothing is known here.
	if err := b.in.Check(Saying{Group: gid(2), From: person("ben"), Content: &message.Retract{Entry: id(text)}}); !errors.Is(err, ErrRefused) {
		t.Errorf("a message of another group was retracted: %v", err)
	}
}
