// What can be done with a message in a conversation: answer, acknowledge, withdraw, erase here.

import { byId, el, say } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { question } from '/assets/dialog.js';
import { again } from '/assets/reauth.js';

async function attempt(work, done) {
  try {
    await work();
    await done();
  } catch (error) {
    say(byId('error'), error.message);
    byId('error').scrollIntoView({ block: 'center' });
  }
}

/** noted says whether a reader is asked to acknowledge: what is urgent or stat and somebody else's. */
const asks = (m) => !m.own && !m.broadcast && !m.retracted && m.priority !== 'routine' && m.kind !== 'escalation';

async function withdraw(m, path, done) {
  const why = await question({ title: 'Withdraw this message?', words: 'It stays, marked as withdrawn, with your reason. Nobody who has read it forgets it.', label: 'Reason', required: 'Say why it is withdrawn.', action: 'Withdraw it' });
  if (why !== null) await attempt(() => call('POST', `${path}/messages`, { kind: 'retract', fields: { entry: [m.id], reason: [why] }, priority: m.priority }), done);
}

async function erase(m, path, done) {
  const sure = await question({ title: 'Erase this message here?', words: 'Its key is destroyed on this device only. The others keep it, and there is no way back.', action: 'Erase it here', alarm: true });
  if (sure === null) return;
  const { has_pin: pin } = await call('GET', '/v1/status');
  const token = await again('Erasing cannot be undone.', pin);
  if (token !== null) await attempt(() => call('POST', `${path}/erase`, { messages: [m.id] }, token), done);
}

/** board is where what stands of a kind is shown. */
const boards = { 'call-out': ['call-outs', 'Answer and see who comes'], casualty: ['casualties', 'Casualty board'], task: ['tasks', 'Task board'], 'task-update': ['tasks', 'Task board'],
  alert: ['alerts', 'Alerts'], escalation: ['alerts', 'Alerts'], incident: ['incident', 'Incident'], decision: ['decisions', 'Decision log'], role: ['duty', 'On duty'] };

const board = (m) => {
  const [where, words] = boards[m.kind] ?? [];
  return where ? el('a', { class: 'button', href: `/c/${m.group}/${where}` }, words) : null;
};

/** leads takes who reads a message to where it is answered, if that is not in the conversation. */
export const leads = (m) => (['call-out', 'alert', 'task'].includes(m.kind) && !m.retracted ? el('p', { class: 'leads' }, board(m)) : null);

/** mine are the messages acknowledged on this page. */
const mine = new Set();

/** buttons makes the row of a message. reply and done are called. */
export function buttons(m, path, who, reply, done) {
  const about = `${who}, ${m.text.slice(0, 40)}`;
  const ack = asks(m) && !mine.has(m.id) ? el('button', { class: 'ack', type: 'button', 'aria-label': `Acknowledge ${about}`, on: { click: ({ currentTarget }) => attempt(async () => {
    await call('POST', `/v1/messages/${m.id}/acknowledge`);
    mine.add(m.id);
    currentTarget.replaceWith(el('span', { class: 'noted', role: 'status' }, 'You acknowledged it'));
  }, done) } }, 'Acknowledge') : null;
  const more = el('details', { class: 'more' }, el('summary', { 'aria-label': `More about the message of ${about}` }, 'More'),
    el('div', { class: 'row' }, leads(m) ? null : board(m),
      m.own && !m.retracted && !['decision', 'retract', 'attachment'].includes(m.kind) ? el('button', { type: 'button', on: { click: () => withdraw(m, path, done) } }, 'Withdraw') : null,
      m.kind === 'methane' && !m.replaced_by ? el('a', { class: 'button', href: `/c/${m.group}/say/methane#supersedes=${m.id}` }, 'Bring up to date') : null,
      m.kind === 'decision' ? el('a', { class: 'button', href: `/c/${m.group}/say/decision#corrects=${m.id}` }, 'Correct') : null,
      m.kind === 'decision' ? null : el('button', { type: 'button', on: { click: () => erase(m, path, done) } }, 'Erase here')));
  return [ack, el('button', { class: 'quiet reply', type: 'button', 'aria-label': `Reply to ${about}`, on: { click: () => reply(m) } }, 'Reply'), more.querySelector('.row').children.length ? more : null];
}
