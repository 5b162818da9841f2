// What is not in the medical record yet, by conversation.

import { byId, el, say, soon } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { begin } from '/assets/page.js';
import { mark } from '/assets/card.js';

/** counted says in words how many messages are where, leaving out what is nothing. */
export function counted(g) {
  return [[g.waiting, 'to review'], [g.reviewed, 'reviewed'], [g.signed_off, 'signed off'], [g.sending, 'being sent'], [g.refused, 'refused'], [g.transferred, 'in the record']]
    .filter(([n]) => n > 0).map(([n, words]) => `${n} ${words}`);
}

function card(g) {
  const counts = counted(g);
  const todo = g.waiting + g.reviewed + g.signed_off + g.refused > 0;
  return el('li', { class: 'card transfer', 'data-group': g.group },
    el('div', { class: 'top' }, el('h2', { dir: 'auto' }, g.name), g.refused ? el('span', { class: 'badge bad' }, `${g.refused} refused`) : g.progress?.state === 'running' ? el('span', { class: 'badge' }, 'Being sent') : null),
    el('p', {}, mark(g.mode === 'exercise'), counts.length ? ` ${counts.join(' · ')}` : ' Nothing to hand over'),
    g.words ? el('p', { class: 'hint' }, g.words) : null,
    el('div', { class: 'row' }, el('a', { class: todo ? 'button main' : 'button', href: `/c/${g.group}/transfer` }, todo ? 'Go on' : 'Show', el('span', { class: 'unseen' }, `: ${g.name}`))));
}

const load = soon(async () => {
  try {
    const { groups, record } = await call('GET', '/v1/transfer');
    const focused = document.activeElement?.closest?.('[data-group]')?.dataset.group;
    byId('groups').replaceChildren(...groups.map(card));
    if (focused) [...byId('groups').children].find((c) => c.dataset.group === focused)?.querySelector('a')?.focus();
    byId('empty').hidden = groups.length > 0;
    byId('endpoint').hidden = record !== '' || groups.length === 0;
    say(byId('endpoint'), record ? '' : 'This device was not told where the medical record is. Messages can be reviewed and exported to a file here; who runs the device sets the address (record-url).');
    say(byId('error'), '');
  } catch (error) {
    say(byId('error'), error.message);
  }
});

if (location.pathname === '/transfer') begin(['transfer', 'message', 'group', 'erased'], load);
