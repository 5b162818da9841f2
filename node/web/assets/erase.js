// Ordering messages of a conversation to be erased on every member's device.

import { el, say, time } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { named } from '/assets/names.js';

const wanted = new Set(); // messages that are ticked

// A longer list is shown in part, the newest first; older ones are named on the command line.
const shown = 200;

const many = (n) => (n === 1 ? '1 message' : `${n} messages`);

/** erasing draws the messages that can be ordered to go; null where there are none. Decisions and the incident itself go with the whole conversation only. */
export function erasing(items, { path, sure, question }) {
  const all = items.filter((it) => it.kind !== 'decision' && it.kind !== 'incident').reverse();
  for (const id of wanted) if (!all.some((it) => it.id === id)) wanted.delete(id);
  if (!all.length) return null;
  const order = async () => {
    const ids = [...wanted];
    const why = await question({ title: `Have ${many(ids.length)} erased?`, words: 'On every member’s device, once they stand in the record and nothing holds them. It cannot be undone.',
      label: 'Why are they erased?', required: 'Say why. It stands in the log.', action: 'Have them erased', alarm: true });
    if (why !== null) await sure('Your name and the reason stand in the log.', async (token) => {
      await call('POST', `${path}/erasure`, { messages: ids, reason: why }, token);
      wanted.clear();
    }, 'The order is on its way');
  };
  const go = el('button', { type: 'button', 'data-key': 'erase', on: { click: order } });
  const choosing = () => { go.disabled = wanted.size === 0; say(go, `Have ${many(wanted.size)} erased`); };
  const row = (it) => {
    const box = el('input', { type: 'checkbox', 'data-key': `erase-${it.id}`, on: { change: ({ target }) => {
      if (target.checked) wanted.add(it.id); else wanted.delete(it.id);
      choosing();
    } } });
    box.checked = wanted.has(it.id);
    return el('li', {}, el('label', { class: 'tick' }, box, el('span', { class: 'what' }, el('span', { class: 'line', dir: 'auto' }, named(it.summary)),
      el('span', { class: 'hint' }, `${it.from}, `, time(it.sent, true), it.state === 'transferred' ? ' · in the record' : ''))));
  };
  choosing();
  return el('section', { class: 'card', 'aria-labelledby': 'erase-title' },
    el('h2', { id: 'erase-title' }, 'Have messages erased'),
    el('p', { class: 'hint' }, 'For who runs the conversation, and for authors of their own. This device obeys at once, the others after a day, in which a hold can still be placed.'),
    el('details', { 'data-key': 'erase-list' }, el('summary', {}, `Choose from ${many(all.length)}`),
      el('ul', { class: 'picks', id: 'erase-list' }, ...all.slice(0, shown).map(row)),
      all.length > shown ? el('p', { class: 'hint' }, `And ${all.length - shown} older ones: name those to “tocsin record erase”.`) : null,
      el('div', { class: 'row' }, go)));
}
