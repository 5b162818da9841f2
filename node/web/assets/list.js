// The list of conversations, on its own page and beside a conversation.

import { byId, el, say, soon, time } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { listen } from '/assets/events.js';
import { named } from '/assets/names.js';
import { flag, mark } from '/assets/card.js';

const about = new Set(['message', 'delivery', 'group', 'erased', 'ready', 'gap']);
const kinds = { incident: 'Incident', team: 'Team', direct: 'Direct', broadcast: 'To everybody' };

function item(group, current) {
  const last = group.last;
  const from = last ? (last.own ? 'You' : last.from.name || 'Unknown') : '';
  return el('li', {},
    el('a', { class: group.unread ? 'entry unread' : 'entry', href: `/c/${group.id}`, 'aria-current': group.id === current ? 'page' : null },
      el('span', { class: 'top' },
        el('span', { class: 'name', dir: 'auto' }, group.title),
        last ? time(last.sent, true) : null),
      el('span', { class: 'line' }, mark(group.exercise), last ? flag(last.priority) : null,
        el('span', { class: 'summary', dir: 'auto' }, last ? `${from}: ${named(last.summary)}` : 'Nothing was said yet')),
      el('span', { class: 'tags' },
        el('span', { class: 'kind' }, `${kinds[group.kind] ?? group.kind} · ${group.members.length} ${group.members.length === 1 ? 'device' : 'devices'}`),
        group.unread ? el('span', { class: 'new' }, `${group.unread} new`) : null)));
}

/** start fills the list and keeps it true. current is the id of the conversation that is open, if any. */
export function start(current) {
  const list = byId('list');
  const empty = byId('empty');
  const error = byId('error');
  const load = soon(async () => {
    try {
      const { groups } = await call('GET', '/v1/groups');
      // A list that is rebuilt under the keyboard must not lose its place.
      const focused = document.activeElement?.closest?.('#list a')?.getAttribute('href');
      list.replaceChildren(...groups.map((group) => item(group, current)));
      if (focused) list.querySelector(`a[href="${focused}"]`)?.focus();
      if (!current && empty) empty.hidden = groups.length > 0;
      if (!current) say(error, '');
    } catch (refused) {
      if (!current) say(error, refused.message);
    }
  });
  listen((event) => about.has(event.type) && load());
  load();
}
