package inbox

import (
	"slices"
	"time"

	"tocsin/node/message"
)

// Task is a task and where it stands.
type Task struct {
	Item    Item
	Content *message.Task
	State   message.TaskState
	By      Author    // who brought it there; the asker while it is assigned
	Since   time.Time // sent
	// Steps are all updates in order, also those that could not count.
	Steps []TaskStep
}

// TaskStep is one update of a task.
type TaskStep struct {
	Item    Item
	Content *message.TaskUpdate
	// Refused is why it changed nothing, for people; empty if it counted.
	Refused string
}

// Open reports whether somebody still has to do something about the task.
func (t Task) Open() bool { return t.State != message.TaskDone }

// Tasks returns the task board of a conversation: open ones first, the newest first among each.
func (in *Inbox) Tasks(id GroupID) (out []Task) {
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindTask, func(said *Item, content *message.Task) {
			if it := in.fill(c, *said); it.Retracted == "" {
				out = append(out, c.task(it, content))
			}
		})
	})
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b Task) int {
		switch {
		case a.Open() == b.Open():
			return 0
		case a.Open():
			return -1
		}
		return 1
	})
	return out
}

// task applies the updates of one task in order. Two devices that moved it on in two partitions are put in one order by
// everybody: the later of two steps that exclude each other is shown as refused.
func (c *conversation) task(it Item, content *message.Task) Task {
	t := Task{Item: it, Content: content, State: message.TaskAssigned, By: it.From, Since: it.Sent}
	contents(&c.boards, message.KindTaskUpdate, func(u *Item, said *message.TaskUpdate) {
		if EntryID(said.Task) != it.ID {
			return
		}
		step := TaskStep{Item: *u, Content: said}
		switch {
		case before(*u, it) < 0:
			step.Refused = "it was said before the task"
		case !c.mayMove(it, content, u):
			step.Refused = "the task was for somebody else"
		case !t.State.May(said.State):
			step.Refused = "the task was already " + t.State.Words()
		default:
			t.State, t.By, t.Since = said.State, u.From, u.Sent
		}
		t.Steps = append(t.Steps, step)
	})
	return t
}

// mayMove reports whether an update's author may move a task on: who asked, and whom it was for when they said so.
func (c *conversation) mayMove(task Item, content *message.Task, u *Item) bool {
	return samePerson(task.From, u.From) || c.addressed(content.To, u.From, saidAt(u), u)
}
