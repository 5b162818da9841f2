// Searching what this device has opened.

import { byId, el, say, time } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { begin } from '/assets/page.js';
import { learn } from '/assets/names.js';
import { flag, mark, short } from '/assets/card.js';

const form = byId('search');
const titles = new Map(); // group id -> title

function result(m) {
  return el('li', {}, el('a', { class: 'entry', href: `/c/${m.group}#m-${m.id}` },
    el('span', { class: 'top' }, el('span', { class: 'name', dir: 'auto' }, m.own ? 'You' : m.from.name || 'Unknown'), time(m.sent, true)),
    el('span', { class: 'line' }, mark(m.exercise), flag(m.priority), el('span', { class: 'summary', dir: 'auto' }, m.retracted ? 'Withdrawn by its author' : short(m))),
    el('span', { class: 'tags' }, el('span', { class: 'kind' }, titles.get(m.group) ?? 'To everybody'))));
}

async function find() {
  const query = new URLSearchParams({ limit: 100 });
  for (const name of ['words', 'kind', 'person', 'tag']) {
    const value = byId(name).value.trim();
    if (value) query.set(name, value);
  }
  say(byId('error'), '');
  if ([...query.keys()].length === 1) {
    say(byId('error'), 'Say what to search for.');
    byId('words').focus();
    return;
  }
  try {
    const { messages } = await call('GET', `/v1/search?${query}`);
    byId('results').replaceChildren(...messages.map(result));
    const n = messages.length;
    say(byId('found'), n === 0 ? 'Nothing was found.' : n === 100 ? 'The newest 100 are shown. Say more to find fewer.' : `${n === 1 ? '1 message' : `${n} messages`} found.`);
  } catch (error) {
    say(byId('error'), error.message);
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  find();
});

async function fill() {
  try {
    const [{ kinds }, { people }, { groups }] = await Promise.all([call('GET', '/v1/kinds'), call('GET', '/v1/people'), call('GET', '/v1/groups')]);
    for (const g of groups) titles.set(g.id, g.title);
    learn(people);
    const kind = byId('kind');
    if (kind.options.length === 1) kind.append(...kinds.filter((k) => k.kind !== 'receipt').map((k) => el('option', { value: k.kind }, k.name)));
    const person = byId('person');
    const have = new Set([...person.options].map((o) => o.value));
    for (const p of people) {
      const address = `${p.org}/${p.regulator}/${p.number}`;
      if (p.relay || have.has(address)) continue;
      have.add(address);
      person.append(el('option', { value: address }, p.self ? `${p.name} (you)` : p.name));
    }
  } catch (error) {
    say(byId('error'), error.message);
  }
}

begin(['people', 'group'], fill);
