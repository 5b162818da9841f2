// Starting a conversation.

import { byId, el, say, soon } from '/assets/dom.js';
import { call, known, leave } from '/assets/session.js';
import { listen } from '/assets/events.js';
import { start as strip } from '/assets/strip.js';

const form = byId('new');
const kind = () => form.elements.kind.value;

function person(p, index, ticked) {
  const role = [p.grade, ...(p.roles ?? [])].filter(Boolean).join(', ');
  const notes = [];
  if (!p.valid) notes.push('Their credential has run out');
  if (!p.ready) notes.push('Not met yet: they read what is sent once they are');
  const id = `person-${index}`;
  return el('li', {},
    el('label', { class: 'person', for: id },
      el('input', { id, type: 'checkbox', name: 'member', value: p.log, checked: ticked.has(p.log) }),
      el('span', { class: 'body' },
        el('span', { class: 'name' }, p.name),
        el('span', { class: 'role' }, [role, p.org].filter(Boolean).join(' · ')),
        notes.length ? el('span', { class: 'note' }, `${notes.join('. ')}.`) : null),
      el('span', { class: p.reachable ? 'reach in' : 'reach' }, p.reachable ? 'In reach' : 'Out of reach')));
}

const ticked = () => new Set([...form.querySelectorAll('input[name=member]:checked')].map((box) => box.value));

const load = soon(async () => {
  try {
    const { people } = await call('GET', '/v1/people');
    const others = people.filter((p) => !p.self && !p.relay);
    const before = ticked();
    const focused = document.activeElement?.name === 'member' ? document.activeElement.value : null;
    byId('people').replaceChildren(...others.map((p, i) => person(p, i, before)));
    if (focused) [...form.querySelectorAll('input[name=member]')].find((box) => box.value === focused)?.focus();
    if (others.length === 0) say(byId('people-hint'), 'Nobody is known to this device yet. People appear here once their device was in reach.');
  } catch (error) {
    say(byId('error'), error.message);
  }
});

function fail(where, message, field) {
  say(byId(where), message);
  if (message && field) field.focus();
}

form.addEventListener('change', () => {
  byId('name-field').hidden = kind() === 'direct';
});

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const members = [...ticked()];
  const name = kind() === 'direct' ? '' : byId('name').value.trim();
  for (const id of ['name-error', 'people-error', 'error']) say(byId(id), '');
  if (kind() !== 'direct' && name === '') return fail('name-error', 'Give the conversation a name.', byId('name'));
  if (members.length === 0) return fail('people-error', 'Tick at least one person.', form.querySelector('input[name=member]'));
  if (kind() === 'direct' && members.length > 1) return fail('people-error', 'Tick one person only, or choose Team.', form.querySelector('input[name=member]'));
  const button = form.querySelector('button[type=submit]');
  button.disabled = true;
  try {
    const group = await call('POST', '/v1/groups', { kind: kind(), name, members });
    location.assign(`/c/${group.id}`);
  } catch (error) {
    fail('error', error.message);
    button.disabled = false;
  }
});

if (await known()) {
  strip();
  listen((event) => ['people', 'peers', 'ready', 'gap'].includes(event.type) && load());
  load();
} else {
  leave();
}
