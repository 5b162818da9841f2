package message

import (
	"fmt"
	"time"
)

// Task asks one person or role to do one thing.
type Task struct {
	private
	What string
	To   string // address
	Due  time.Time
	Note string
}

func (t *Task) Kind() Kind { return KindTask }
func (t *Task) Summary() string {
	return "Task: " + joined(" · ", t.What, addressWords(t.To))
}
func (t *Task) Fields() []Field {
	return []Field{
		{Number: 0, Name: "what", Label: "What is to be done", Required: true, value: prose(&t.What, MaxProse)},
		{Number: 1, Name: "to", Label: "For", Required: true, Help: "role:medical-registrar or person:nhs.example/gmc/7654321.", value: address(&t.To)},
		{Number: 2, Name: "due", Label: "Due", value: moment(&t.Due)},
		{Number: 3, Name: "note", Label: "Note", value: prose(&t.Note, MaxProse)},
	}
}

// TaskState is where a task stands.
type TaskState string

// The states of a task: assigned → accepted → in progress → done, or declined. A task is assigned by being sent.
const (
	TaskAssigned   TaskState = "assigned"
	TaskAccepted   TaskState = "accepted"
	TaskInProgress TaskState = "in-progress"
	TaskDone       TaskState = "done"
	TaskDeclined   TaskState = "declined"
)

// Words are the state as people read it.
func (s TaskState) Words() string {
	if s == TaskAssigned {
		return "Assigned"
	}
	return label(taskChoices(), string(s))
}

// May reports whether a task in state s may go to next. Steps may be left out, none may be taken back; what was declined may
// be accepted after all.
func (s TaskState) May(next TaskState) bool {
	switch s {
	case TaskAssigned:
		return next != TaskAssigned
	case TaskAccepted:
		return next == TaskInProgress || next == TaskDone || next == TaskDeclined
	case TaskInProgress:
		return next == TaskDone || next == TaskDeclined
	case TaskDeclined:
		return next == TaskAccepted
	}
	return false
}

func taskChoices() []Choice {
	return []Choice{{string(TaskAccepted), "Accepted"}, {string(TaskInProgress), "In progress"},
		{string(TaskDone), "Done"}, {string(TaskDeclined), "Declined"}}
}

// TaskUpdate moves a task on.
type TaskUpdate struct {
	private
	Task  EntryID
	State TaskState
	Note  string // why, where it is declined
}

func (t *TaskUpdate) Kind() Kind { return KindTaskUpdate }
func (t *TaskUpdate) Summary() string {
	return "Task " + joined(": ", label(taskChoices(), string(t.State)), t.Note)
}
func (t *TaskUpdate) Fields() []Field {
	return []Field{
		{Number: 0, Name: "task", Label: "Task", Required: true, value: entry(&t.Task)},
		{Number: 1, Name: "state", Label: "State", Required: true, value: choice(&t.State, taskChoices()...)},
		{Number: 2, Name: "note", Label: "Note", value: prose(&t.Note, MaxProse)},
	}
}

func (t *TaskUpdate) rules() error {
	if t.State == TaskDeclined && t.Note == "" {
		return fmt.Errorf("%w: the field %q (note) is missing; say why the task is declined", ErrInvalid, "Note")
	}
	return nil
}
