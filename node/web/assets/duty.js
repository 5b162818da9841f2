// Who is on duty: roles taken, handed over, offered and contested.

import { byId, el, say, time } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { card } from '/assets/overview.js';
import { addressees, roleName, roleOf } from '/assets/addressees.js';
import { nameOf } from '/assets/names.js';
import { question } from '/assets/dialog.js';
import { one as pickOne } from '/assets/pick.js';

const lengths = [[8, '8 hours'], [12, '12 hours'], [24, '24 hours'], [48, '48 hours']];

export async function fetch() {
  return (await call('GET', '/v1/cards')).cards;
}

const ends = (hours) => new Date(Date.now() + hours * 3600000).toISOString();

/** take asks for how long, and for which role where none is given. */
async function take(role, ctx) {
  const name = role ? null : el('input', { id: 'take-role', type: 'text', autocomplete: 'off', maxlength: 48, list: 'known-roles' });
  const known = role ? null : el('datalist', { id: 'known-roles' }, ...ctx.more.filter((c) => c.role !== 'all').map((c) => el('option', { value: roleName(c.role) })));
  const hours = el('select', { id: 'take-hours' }, ...lengths.map(([h, words]) => el('option', { value: h }, words)));
  hours.value = '12';
  const node = el('div', {}, role ? null : el('div', { class: 'field' }, el('label', { for: 'take-role' }, 'Role'), name, known), el('div', { class: 'field' }, el('label', { for: 'take-hours' }, 'For'), hours));
  const answer = await question({ title: role ? `Take over as ${roleName(role)}?` : 'Take a role', words: 'What is addressed to the role comes to you until then.', node, action: 'Take it' });
  if (answer === null) return;
  const which = role || roleOf(name.value);
  if (!which) {
    say(byId('error'), 'Say which role you take.');
    return;
  }
  await ctx.act('role', { role: [which], action: ['take'], until: [ends(Number(hours.value))] });
}

async function handOver(d, ctx) {
  const who = await addressees(ctx.path);
  who.people = who.people.filter((p) => p.address !== `person:${ctx.status.person}`);
  const pick = pickOne('hand-to', who, 'people');
  const answer = await question({ title: `Hand ${d.name} over`, words: 'It stays yours until they take it.', node: el('div', { class: 'field' }, el('label', { for: 'hand-to' }, 'To'), pick.node), action: 'Hand over' });
  if (answer === null) return;
  if (pick.values().length === 0) {
    say(byId('error'), 'Choose whom the role is handed over to.');
    return;
  }
  await ctx.act('role', { role: [d.role], action: ['hand-over'], to: pick.values() });
}

function one(d, ctx) {
  const me = d.me || d.holders.some((h) => h.from.log === ctx.status.log);
  const offered = d.offered && d.offered === ctx.status.person;
  const card_ = ctx.more.find((c) => c.role === d.role);
  return el('li', { class: 'card duty' },
    el('div', { class: 'top' }, el('h2', {}, d.name), me ? el('span', { class: 'badge' }, 'You') : null),
    d.contested ? el('p', { class: 'doubt' }, 'More than one holds this role. All get what is sent to it, until one gives it up.') : null,
    el('ul', { class: 'names' }, ...d.holders.map((h) => el('li', {}, el('span', { class: 'name' }, h.from.name || 'Unknown'), el('span', { class: 'hint' }, 'since ', time(h.since, true), ', until ', time(h.until, true))))),
    d.offered ? el('p', { class: 'hint' }, `Handed over to ${offered ? 'you' : nameOf(`person:${d.offered}`)}, who has not taken it yet.`) : null,
    el('div', { class: 'row' },
      offered ? el('button', { type: 'button', class: 'main', 'data-key': `take-${d.role}`, on: { click: () => take(d.role, ctx) } }, 'Take it') : null,
      me ? el('button', { type: 'button', 'data-key': `over-${d.role}`, on: { click: () => handOver(d, ctx) } }, 'Hand over', el('span', { class: 'unseen' }, ` ${d.name}`)) : null,
      me ? el('button', { type: 'button', class: 'quiet', 'data-key': `up-${d.role}`, on: { click: () => ctx.act('role', { role: [d.role], action: ['release'] }) } }, 'Give up', el('span', { class: 'unseen' }, ` ${d.name}`)) : null),
    card_ && me ? el('details', { 'data-key': `card-${d.role}` }, el('summary', {}, 'Action card'), card(card_)) : null);
}

export function draw(ctx) {
  const { board } = ctx;
  return {
    acts: [el('button', { type: 'button', class: 'main', 'data-key': 'take', on: { click: () => take('', ctx) } }, 'Take a role')],
    nodes: [board.duties.length ? el('ul', { class: 'cards' }, ...board.duties.map((d) => one(d, ctx))) : el('p', { class: 'empty' }, 'Nobody has taken a role.')],
  };
}
