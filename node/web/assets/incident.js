// The incident: where it stands, the report from the scene, the action cards of who looks, and what happened when.

import { ago, el, time } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { card } from '/assets/overview.js';
import { named } from '/assets/names.js';
import { content, flag, link } from '/assets/card.js';

const words = { standby: 'Standby', declared: 'Declared', 'stand-down': 'Stood down', cancelled: 'Cancelled' };

/** fetch gets what the board does not hold. */
export async function fetch(path) {
  const [timeline, roster] = await Promise.all([call('GET', `${path}/timeline`), call('GET', `${path}/roster`)]);
  return { timeline, roster };
}

function head(ctx, admin) {
  const { board, reason, id } = ctx;
  const i = board.incident;
  if (!i) {
    return el('section', { class: 'card' }, el('h2', {}, 'No incident yet'),
      el('p', {}, 'Live or exercise is fixed when an incident is made, and cannot be changed.'),
      admin ? el('a', { class: 'button main', href: `/c/${id}/say/incident#board=1` }, 'Make it') : el('p', { class: 'hint' }, 'Who runs this conversation can make it.'));
  }
  const move = (state, ask) => reason(ask, 'incident', (why) => ({ name: [i.name], mode: [i.mode], state: [state], ...(why ? { reason: [why] } : {}) }), 'urgent');
  const button = (label, main, state, ask) => el('button', { type: 'button', class: main ? 'main' : '', 'data-key': `move-${state}`, on: { click: () => move(state, ask) } }, label);
  const acts = [];
  if (admin && i.state === 'standby') acts.push(button('Declare it', true, 'declared', { title: `Declare ${i.name}?`, words: 'Everybody in this conversation is told.', label: 'Reason (may be left out)', action: 'Declare' }));
  if (admin && i.state === 'declared') acts.push(button('Stand down', true, 'stand-down', { title: `Stand ${i.name} down?`, label: 'Reason (may be left out)', action: 'Stand down' }));
  if (admin && !i.over && ['standby', 'declared'].includes(i.state)) acts.push(button('Cancel it', false, 'cancelled', { title: `Cancel ${i.name}?`, label: 'Why is it cancelled?', required: 'Say why it is cancelled.', action: 'Cancel the incident', alarm: true }));
  return el('section', { class: `card incident ${i.state}` },
    el('p', { class: 'big' }, el('span', { class: `flag ${i.state === 'declared' ? 'stat' : ''}` }, words[i.state] ?? i.state), ' ',
      el('span', { class: `flag ${i.exercise || i.contested ? 'exercise-flag' : ''}` }, i.contested ? 'Live or exercise?' : i.exercise ? 'Exercise' : 'Live')),
    el('h2', { dir: 'auto' }, i.name),
    el('p', { class: 'hint' }, `By ${i.by.name || 'Unknown'}, `, time(i.since, true), ` (${ago(i.since)})`),
    i.contested ? el('p', { class: 'doubt' }, 'Those who run it say both that it is live and that it is an exercise. Ask them before you take it for one. ', el('a', { href: `/c/${id}/transfer` }, 'Settle which it is')) : null,
    i.settled ? el('p', { class: 'hint' }, `${i.settled.from.name || 'Unknown'} settled that it is ${i.exercise ? 'an exercise' : 'live'}, `, time(i.settled.sent, true), ' · ', link(id, i.settled.id, 'Show')) : null,
    i.grace ? el('p', { class: 'hint' }, `${i.grace.org} has declared it: credentials of theirs that run out meanwhile count a little longer.`) : null,
    acts.length ? el('div', { class: 'row' }, ...acts) : null);
}

function report(ctx) {
  const [now, ...before] = ctx.board.methane ?? [];
  if (!now) return el('section', { class: 'card' }, el('h2', {}, 'Report from the scene'), el('p', { class: 'hint' }, 'No M/ETHANE report yet.'));
  return el('section', { class: 'card' }, el('h2', {}, 'Report from the scene'),
    el('p', { class: 'hint' }, `${now.own ? 'You' : now.from.name || 'Unknown'}, `, time(now.sent, true), ` (${ago(now.sent)})`), content(now),
    el('div', { class: 'row' }, el('a', { class: 'button', href: `/c/${ctx.id}/say/methane#board=1&supersedes=${now.id}` }, 'Bring it up to date')),
    before.length ? el('details', { 'data-key': 'before' }, el('summary', {}, before.length === 1 ? '1 earlier report' : `${before.length} earlier reports`),
      ...before.map((m) => el('div', { class: 'earlier-report' }, el('p', { class: 'hint' }, time(m.sent, true), m.replaced_by ? ' · brought up to date since' : ''), content(m)))) : null);
}

function event(e, id) {
  return el('li', { class: e.refused ? 'refused' : '' },
    el('span', { class: 'when' }, time(e.at, true)),
    el('div', { class: 'what' },
      el('p', { dir: 'auto' }, flag(e.message.priority), flag(e.message.priority) ? ' ' : '', named(e.summary)),
      el('p', { class: 'hint' }, e.message.own ? 'You' : e.message.from.name || 'Unknown', ' · ', link(id, e.message.id, 'Show'),
        e.late ? el('span', {}, ' · entered ', time(e.entered, true)) : ''),
      e.refused ? el('p', { class: 'doubt' }, `It changed nothing: ${e.refused}.`) : null));
}

export function draw(ctx) {
  const { board, more, status, id } = ctx;
  const admin = more.roster.members.some((m) => m.role === 'admin' && m.log === status.log);
  const events = [...more.timeline.events].reverse();
  return {
    acts: board.methane?.length ? [] : [el('a', { class: 'button', href: `/c/${id}/say/methane#board=1` }, 'Report from the scene')],
    nodes: [head(ctx, admin), ...(board.cards ?? []).map(card), report(ctx),
      el('section', { class: 'card' }, el('h2', {}, 'What happened'), el('p', { class: 'hint' }, 'By when it happened, the newest first.'),
        events.length ? el('ol', { class: 'timeline', reversed: true }, ...events.map((e) => event(e, id))) : el('p', {}, 'Nothing yet.'))],
  };
}
