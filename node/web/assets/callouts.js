// Call-outs: one question, answered with one press; a tally by skill and by when they will be there.

import { ago, el, time } from '/assets/dom.js';
import { fieldOf, mark } from '/assets/card.js';

const minutes = [10, 20, 30, 45, 60, 90, 120];
const spans = [[15, 'Within 15 min'], [30, '15 to 30 min'], [60, '30 to 60 min'], [Infinity, 'Later than that']];

/** due says by when how many will be there, counted from now: who should be there already stands in the first. */
function due(coming) {
  const out = spans.map(([, words]) => [words, 0]);
  for (const c of coming) {
    const left = c.there ? (new Date(c.there) - Date.now()) / 60000 : Infinity;
    out[spans.findIndex(([most]) => left <= most)][1] += 1;
  }
  return out.filter(([, n]) => n > 0);
}

function bars(caption, rows, most) {
  if (rows.length === 0) return null;
  return el('table', { class: 'bars' }, el('caption', {}, caption), el('tbody', {}, ...rows.map(([words, n]) => {
    const meter = el('meter', { min: 0, max: Math.max(most, 1), value: n, 'aria-hidden': 'true' });
    return el('tr', {}, el('th', { scope: 'row' }, words), el('td', { class: 'n' }, String(n)), el('td', { class: 'bar-cell' }, meter));
  })));
}

function mine(c, log) {
  for (const [list, words] of [[c.coming, 'You are coming'], [c.later, 'You come later'], [c.cannot, 'You cannot come']]) {
    const a = list.find((x) => x.from.log === log);
    if (!a) continue;
    const there = a.there && list !== c.cannot ? [', there by ', time(a.there)] : [];
    return el('p', { class: 'answered', role: 'status' }, words, ...there, a.skill ? `, as ${a.skill}` : '', '. Another press changes it.');
  }
  return null;
}

/** answer is the row of buttons: each is a whole answer. */
function answer(c, act, log) {
  const key = c.message.id;
  const skills = c.message.fields.find((f) => f.name === 'skills')?.values ?? [];
  const skill = skills.length ? el('select', { id: `skill-${key}`, 'data-key': `skill-${key}` }, el('option', { value: '' }, 'None of these'), ...skills.map((s) => el('option', { value: s }, s))) : null;
  const say = (how, eta) => act('call-out-answer', { 'call-out': [key], answer: [how], ...(eta ? { eta: [String(eta)] } : {}), ...(skill?.value && how !== 'cannot' ? { skill: [skill.value] } : {}) }, c.message.priority);
  const button = (words, how, eta, main) => el('button', { type: 'button', class: main ? 'main' : '', 'data-key': `${key}-${how}-${eta ?? ''}`, on: { click: () => say(how, eta) } }, words);
  return el('div', { class: 'answer' }, mine(c, log),
    skill ? el('div', { class: 'field' }, el('label', { for: `skill-${key}` }, 'You come as'), skill) : null,
    el('fieldset', {}, el('legend', {}, 'Coming, there in'), el('div', { class: 'etas' }, ...minutes.map((m) => button(m < 60 ? `${m} min` : m === 60 ? '1 h' : m === 90 ? '1½ h' : '2 h', 'coming', m, true)))),
    el('div', { class: 'row' }, button('Later', 'later'), button('Cannot come', 'cannot')));
}

function people(words, list) {
  if (list.length === 0) return null;
  return el('details', { 'data-key': `list-${words}` }, el('summary', {}, `${words}: ${list.length}`), el('ul', { class: 'names' }, ...list.map((a) =>
    el('li', {}, el('span', { class: 'name' }, a.from.name || 'Unknown'), el('span', { class: 'hint' }, a.skill, a.skill && a.there ? ' · ' : '', a.there ? 'there by ' : '', a.there ? time(a.there) : '')))));
}

function one(c, { act, reason, status }) {
  const m = c.message;
  const needed = Number(fieldOf(m, 'needed')) || 0;
  const tally = el('dl', { class: 'tally' },
    ...[['Coming', c.coming.length, 'good'], ['Later', c.later.length, ''], ['Cannot', c.cannot.length, ''], ['No answer', c.silent, '']].map(([words, n, kind]) =>
      el('div', { class: kind }, el('dt', {}, words), el('dd', {}, words === 'Coming' && needed ? `${n} of ${needed}` : String(n)))));
  return el('section', { class: 'card callout', 'aria-label': fieldOf(m, 'question') },
    el('p', {}, mark(m.exercise), ' ', el('span', { class: `flag ${c.closed ? '' : 'open'}` }, c.closed ? 'Closed' : 'Open')),
    el('h2', { dir: 'auto' }, fieldOf(m, 'question')),
    el('p', { dir: 'auto' }, el('strong', {}, fieldOf(m, 'place')), fieldOf(m, 'when') ? ` · from ${fieldOf(m, 'when')}` : ''),
    el('p', { class: 'hint' }, `Asked by ${m.own ? 'you' : m.from.name || 'Unknown'}, ${ago(m.sent)}`),
    c.closed ? el('p', { class: 'enough' }, 'Enough are coming. Everybody else: please stand by.') : m.own ? null : answer(c, act, status.log),
    tally, bars('By when', due(c.coming), c.coming.length), c.skills.length ? bars('By skill', c.skills.map((s) => [s.skill || 'None of these', s.coming]), c.coming.length) : null,
    c.after > 0 ? el('p', { class: 'hint' }, c.after === 1 ? '1 more answered after it was closed.' : `${c.after} more answered after it was closed.`) : null,
    people('Coming', c.coming), people('Later', c.later), people('Cannot come', c.cannot),
    !c.closed && m.own ? el('div', { class: 'row' }, el('button', { type: 'button', class: 'main', 'data-key': `enough-${m.id}`, on: { click: () => reason(
      { title: 'Enough?', words: 'It closes the call-out and tells everybody else to stand by.', label: 'Note (may be left out)', action: 'Enough are coming' },
      'call-out-close', (note) => ({ 'call-out': [m.id], ...(note ? { note: [note] } : {}) }), m.priority) } }, 'Enough are coming')) : null);
}

export function draw(ctx) {
  const { board, id } = ctx;
  return {
    acts: [el('a', { class: 'button main', href: `/c/${id}/say/call-out#board=1` }, 'Call out')],
    nodes: board.call_outs.length ? board.call_outs.map((c) => one(c, ctx)) : [el('p', { class: 'empty' }, 'Nobody has been called out.')],
  };
}
