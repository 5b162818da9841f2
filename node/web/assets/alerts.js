// Alerts: which sound, whom they have called, and when the next is called.

import { ago, el, time } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { fieldOf, forWhom, mark } from '/assets/card.js';
import { nameOf } from '/assets/names.js';

function stands(a) {
  if (a.cancelled) return 'Cancelled';
  if (a.message.retracted) return 'Withdrawn';
  if (a.acknowledged > 0) return a.acknowledged === 1 ? 'Acknowledged' : `Acknowledged by ${a.acknowledged}`;
  return 'Nobody has acknowledged it';
}

function one(a, { attempt, reason }) {
  const m = a.message;
  const list = m.fields.find((f) => f.name === 'to')?.values ?? [];
  const acts = [];
  if (a.sounds && !m.own) acts.push(el('button', { type: 'button', class: 'main', 'data-key': `ack-${m.id}`, on: { click: () => attempt(() => call('POST', `/v1/messages/${m.id}/acknowledge`)) } }, 'Acknowledge'));
  if (a.sounds && m.own) {
    acts.push(el('button', { type: 'button', 'data-key': `end-${m.id}`, on: { click: () => reason({ title: 'Cancel this alert?', label: 'Why is it not needed any more?', required: 'Say why.', action: 'Cancel the alert' },
      'alert-cancel', (why) => ({ alert: [m.id], reason: [why] }), 'stat') } }, 'Cancel the alert'));
  }
  return el('li', { class: `card alert-card ${a.sounds ? 'sounds' : ''}` },
    el('p', {}, mark(m.exercise), ' ', el('span', { class: `flag ${a.sounds ? 'stat' : ''}` }, a.sounds ? 'Sounds' : 'Over')),
    el('h2', { dir: 'auto' }, fieldOf(m, 'what')), el('p', { dir: 'auto' }, el('strong', {}, fieldOf(m, 'where'))), forWhom(m),
    el('p', {}, stands(a)),
    el('ol', { class: 'called' }, ...list.map((to, i) => el('li', {}, nameOf(to), ' ', el('span', { class: 'hint' }, i < a.called.length ? 'called' : 'not called yet')))),
    a.escalates && a.sounds ? el('p', { class: 'hint' }, 'The next is called at ', time(a.escalates), ' unless somebody acknowledges.') : null,
    el('p', { class: 'hint' }, `Raised by ${m.own ? 'you' : m.from.name || 'Unknown'} ${ago(m.sent)}`),
    acts.length ? el('div', { class: 'row' }, ...acts) : null);
}

export function draw(ctx) {
  const { board, id } = ctx;
  return {
    acts: [el('a', { class: 'button alarm', href: `/c/${id}/say/alert#board=1` }, 'Raise an alert')],
    nodes: board.alerts.length ? [el('ul', { class: 'cards' }, ...board.alerts.map((a) => one(a, ctx)))] : [el('p', { class: 'empty' }, 'No alert was raised.')],
  };
}
