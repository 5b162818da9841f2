// The decision log: numbered, never changed, corrected by later entries. It can be printed as a document.

import { byId, el, say, time } from '/assets/dom.js';
import { file } from '/assets/session.js';
import { nameOf } from '/assets/names.js';
import { mark } from '/assets/card.js';

const words = (who) => (who?.address ? nameOf(who.address) : who?.words ?? '');

function one(d, id) {
  const m = d.message;
  const to = (n, text) => el('a', { class: 'inline', href: `#d-${n}` }, text);
  const facts = [['Why', d.rationale], ['Decided by', words(d.decider)], ['Written down by', words(d.loggist)]].filter(([, v]) => v);
  return el('li', { class: `card decision ${d.corrected_by ? 'past' : ''}`, id: `d-${d.number}` },
    el('div', { class: 'top' }, el('h2', { dir: 'auto' }, `${d.number}. ${d.decision}`), mark(m.exercise)),
    d.corrects ? el('p', {}, 'Corrects ', to(d.corrects, `number ${d.corrects}`)) : null,
    d.corrected_by ? el('p', { class: 'gone' }, 'Corrected by ', to(d.corrected_by, `number ${d.corrected_by}`)) : null,
    el('dl', { class: 'facts' }, ...facts.flatMap(([n, v]) => [el('dt', {}, n), el('dd', { dir: 'auto' }, v)]),
      el('dt', {}, 'Options'), el('dd', {}, el('ul', { class: 'values' }, ...d.options.map((o) => el('li', { dir: 'auto' }, o)))),
      el('dt', {}, 'Decided'), el('dd', {}, time(d.at, true)),
      el('dt', {}, 'Entered'), el('dd', {}, time(d.entered, true), d.late ? ' (more than half an hour later)' : '')),
    ...(d.gap ? [el('p', { class: 'doubt' }, 'The entry before this one is not here yet.')] : []),
    ...(d.problems ?? []).map((p) => el('p', { class: 'doubt', dir: 'auto' }, p)),
    el('div', { class: 'row' }, el('a', { class: 'button', href: `/c/${id}/say/decision#board=1&corrects=${m.id}` }, 'Correct', el('span', { class: 'unseen' }, ` number ${d.number}`))));
}

/** print opens the document for the browser's own print, or saves it where a new window is not allowed. */
async function print(path, button) {
  button.disabled = true;
  try {
    const address = URL.createObjectURL(await file(`${path}/decisions/print`));
    el('a', { href: address, download: 'decision log.html' }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  } catch (error) {
    say(byId('error'), error.message);
  } finally {
    button.disabled = false;
  }
}

export function draw({ board, id, path }) {
  const all = [...board.decisions].reverse();
  const save = el('button', { type: 'button', 'data-key': 'print', on: { click: () => print(path, save) } }, 'Save to print');
  return {
    acts: [el('a', { class: 'button main', href: `/c/${id}/say/decision#board=1` }, 'Log a decision'), all.length ? save : null].filter(Boolean),
    nodes: all.length ? [el('p', { class: 'hint' }, 'Nothing leaves this log. What was wrong is corrected by a new entry.'), el('ol', { class: 'cards' }, ...all.map((d) => one(d, id)))]
      : [el('p', { class: 'empty' }, 'No decision was logged.')],
  };
}
