// The task board: what is asked of whom, and where it stands.

import { ago, el, time } from '/assets/dom.js';
import { fieldOf, forWhom, mark } from '/assets/card.js';

const next = {
  assigned: [['accepted', 'Accept', true], ['done', 'Done'], ['declined', 'Decline']],
  accepted: [['in-progress', 'Start', true], ['done', 'Done'], ['declined', 'Decline']],
  'in-progress': [['done', 'Done', true], ['declined', 'Decline']],
  declined: [['accepted', 'Accept after all']],
};

function one(t, { act, reason }) {
  const m = t.message;
  const move = (state) => (state === 'declined'
    ? reason({ title: 'Decline this task?', label: 'Why?', required: 'Say why, so that somebody else can be asked.', action: 'Decline' }, 'task-update', (why) => ({ task: [m.id], state: [state], note: [why] }), m.priority)
    : act('task-update', { task: [m.id], state: [state] }, m.priority));
  const due = m.fields.find((f) => f.name === 'due');
  const late = due && t.open && new Date(due.values[0]) < Date.now();
  // Only whom it is for and who asked can move it; the node refuses all others.
  const may = m.own || m.for_me;
  return el('li', { class: `card task ${t.state}`, 'data-state': t.state },
    el('div', { class: 'top' }, el('h2', { dir: 'auto' }, fieldOf(m, 'what')), el('span', { class: `badge ${{ done: '', declined: 'bad' }[t.state] ?? 'doubt'}` }, t.state_words)),
    el('p', {}, mark(m.exercise)), forWhom(m) ?? el('p', { class: 'for' }, `For ${fieldOf(m, 'to')}`),
    due ? el('p', { class: late ? 'doubt' : '' }, late ? 'Was due ' : 'Due ', time(due.values[0], true)) : null,
    fieldOf(m, 'note') ? el('p', { dir: 'auto' }, fieldOf(m, 'note')) : null,
    el('p', { class: 'hint' }, `Asked by ${m.own ? 'you' : m.from.name || 'Unknown'} ${ago(m.sent)}`, t.state === 'assigned' ? '' : `; ${t.state_words.toLowerCase()} by ${t.by.name || 'Unknown'} ${ago(t.since)}`),
    may && next[t.state] ? el('div', { class: 'row' }, ...next[t.state].map(([state, words, main]) =>
      el('button', { type: 'button', class: main ? 'main' : '', 'data-key': `${m.id}-${state}`, on: { click: () => move(state) } }, words, el('span', { class: 'unseen' }, `: ${fieldOf(m, 'what')}`)))) : null);
}

export function draw(ctx) {
  const { board, id } = ctx;
  const open = board.tasks.filter((t) => t.open);
  const done = board.tasks.filter((t) => !t.open);
  return {
    acts: [el('a', { class: 'button main', href: `/c/${id}/say/task#board=1` }, 'New task')],
    nodes: [open.length ? el('ul', { class: 'cards' }, ...open.map((t) => one(t, ctx))) : el('p', { class: 'empty' }, 'No task is open.'),
      done.length ? el('details', { 'data-key': 'done' }, el('summary', {}, `Done: ${done.length}`), el('ul', { class: 'cards' }, ...done.map((t) => one(t, ctx)))) : null],
  };
}
