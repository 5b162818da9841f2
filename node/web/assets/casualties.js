// The casualty board: every tag, by urgency. A human chose each category; nothing computes one.

import { ago, el, time } from '/assets/dom.js';
import { fieldOf, mark, triage } from '/assets/card.js';

const order = [['p1', 'P1', 'Immediate'], ['p2', 'P2', 'Urgent'], ['p3', 'P3', 'Delayed'], ['deceased', '', 'Deceased']];

function update(id, c) {
  const query = new URLSearchParams({ board: '1' });
  for (const f of c.message.fields) query.append(f.name, f.values[0]);
  return `/c/${id}/say/casualty#${query}`;
}

function one(c, id) {
  const m = c.message;
  const facts = [['Where now', 'location'], ['Going to', 'going'], ['Injuries', 'injuries'], ['Note', 'note']].map(([words, name]) => [words, fieldOf(m, name)]).filter(([, v]) => v);
  const about = [fieldOf(m, 'age'), fieldOf(m, 'sex')].filter(Boolean).join(', ');
  return el('li', { class: `card casualty ${c.triage}` },
    el('div', { class: 'top' }, el('h2', {}, c.tag), triage(c.triage, c.triage_words)),
    el('p', {}, mark(m.exercise), about),
    facts.length ? el('dl', { class: 'facts' }, ...facts.flatMap(([n, v]) => [el('dt', {}, n), el('dd', { dir: 'auto' }, v)])) : null,
    el('p', { class: 'hint' }, `${m.own ? 'You' : m.from.name || 'Unknown'}, `, time(m.sent, true), ` (${ago(m.sent)})`, c.said > 1 ? ` · said ${c.said} times` : ''),
    el('div', { class: 'row' }, el('a', { class: 'button', href: update(id, c) }, 'Bring up to date', el('span', { class: 'unseen' }, ` ${c.tag}`))));
}

export function draw({ board, id }) {
  const all = board.casualties;
  return {
    acts: [el('a', { class: 'button main', href: `/c/${id}/say/casualty#board=1` }, 'Tag a casualty')],
    nodes: all.length === 0 ? [el('p', { class: 'empty' }, 'Nobody has been tagged.')] : [
      el('dl', { class: 'tally' }, ...order.map(([value, words, meaning]) => el('div', { class: `triage-tile ${value}` },
        el('dt', {}, value === 'deceased' ? meaning : `${words} ${meaning.toLowerCase()}`), el('dd', {}, String(all.filter((c) => c.triage === value).length))))),
      el('ul', { class: 'cards' }, ...all.map((c) => one(c, id)))],
  };
}
