// Handing one conversation to the medical record: review, sign off, send or export; and how long it is kept here.

import { byId, el, renew, say, soon, time } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { begin, here } from '/assets/page.js';
import { exercise, ofConversation } from '/assets/exercise.js';
import { question } from '/assets/dialog.js';
import { again } from '/assets/reauth.js';
import { save } from '/assets/save.js';
import { counted } from '/assets/transfer.js';
import { patient } from '/assets/patient.js';
import { keeping } from '/assets/keeping.js';
import { erasing } from '/assets/erase.js';
import { settling } from '/assets/settle.js';
import { learn, named, nameOf } from '/assets/names.js';

const { id, path } = here();
const chosen = new Set(); // messages that are ticked
let withPIN = false;
let drawn = '';

// A list that is longer than this is shown in parts: what comes next is there once these are done.
const shown = 200;

const many = (n) => (n === 1 ? '1 message' : `${n} messages`);

/** attempt does something and loads anew; what goes wrong is said. */
async function attempt(work, done) {
  say(byId('error'), '');
  try {
    await work();
    drawn = '';
    await load();
    if (done) say(byId('news'), done);
  } catch (error) {
    say(byId('error'), error.message);
    byId('error').scrollIntoView({ block: 'center' });
  }
}

/** sure asks for the secret once more, and then acts. */
async function sure(why, work, done) {
  const token = await again(why, withPIN);
  if (token !== null) await attempt(() => work(token), done);
}

const button = (words, main, key, click, off = false) => el('button', { type: 'button', class: main ? 'main' : '', 'data-key': key, disabled: off, on: { click } }, words);

function row(it, tick) {
  const box = tick ? el('input', { type: 'checkbox', 'data-key': `tick-${it.id}`, on: { change: ({ target }) => {
    if (target.checked) chosen.add(it.id); else chosen.delete(it.id);
    choosing();
  } } }) : null;
  if (box) box.checked = chosen.has(it.id);
  const said = el('span', { class: 'what' },
    el('span', { class: 'line', dir: 'auto' }, named(it.summary)),
    el('span', { class: 'hint' }, `${it.from}, `, time(it.sent, true), it.tag ? ` · ${it.tag}` : ''),
    it.reviewed_at ? el('span', { class: 'about' }, it.patient ? `About ${it.patient.words}` : 'About no single patient') : null,
    it.signed_off_by ? el('span', { class: 'hint' }, `Signed off by ${nameOf(`person:${it.signed_off_by}`)}`) : null,
    it.location ? el('span', { class: 'hint' }, `Stands there as ${it.location}`) : null,
    it.refused ? el('span', { class: 'doubt' }, it.refused) : null,
    ...(it.notes ?? []).map((n) => el('span', { class: 'doubt' }, n)));
  return el('li', { 'data-id': it.id, 'data-state': it.state }, tick ? el('label', { class: 'tick' }, box, said) : said);
}

const rows = (items, tick, key) => el('ul', { class: 'picks', id: key ?? null }, ...items.slice(0, shown).map((it) => row(it, tick)),
  items.length > shown ? el('li', { class: 'hint' }, `And ${items.length - shown} more, once these are done.`) : null);

/** choosing shows how many are ticked on the buttons that act on them. */
function choosing() {
  for (const b of document.querySelectorAll('[data-chosen]')) {
    b.disabled = chosen.size === 0;
    say(b, b.dataset.chosen.replace('%', many(chosen.size)));
  }
}

async function attribute(ids) {
  const who = await patient(ids.length);
  if (who === null) return;
  await attempt(async () => {
    await call('POST', `${path}/transfer/attribute`, { messages: ids, patient: who });
    for (const one of ids) chosen.delete(one);
  }, `${many(ids.length)} reviewed`);
}

async function nobody(ids) {
  await attempt(async () => {
    await call('POST', `${path}/transfer/attribute`, { messages: ids, patient: null });
    for (const one of ids) chosen.delete(one);
  }, `${many(ids.length)} reviewed`);
}

const acting = (words, key, main, work) => {
  const b = button(words, main, key, () => work([...chosen]));
  b.dataset.chosen = words;
  return b;
};

function review(items) {
  // Nothing of an exercise is sent, but a file of it says whom its messages are about, too.
  const open = items.filter((it) => it.state === 'waiting' || it.state === 'refused' || (it.state === 'exercise' && !it.reviewed_at));
  const done = items.filter((it) => it.state === 'reviewed' || (it.state === 'exercise' && it.reviewed_at));
  if (!open.length && !done.length) return null;
  const all = el('button', { type: 'button', class: 'quiet', 'data-key': 'all', on: { click: () => {
    for (const it of open) chosen.add(it.id);
    for (const box of document.querySelectorAll('#review-open input')) box.checked = true;
    choosing();
  } } }, `Choose all ${open.length}`);
  return el('section', { class: 'card', 'aria-labelledby': 'review-title' },
    el('h2', { id: 'review-title' }, '1. Review'),
    el('p', { class: 'hint' }, 'Say of each message whether it is about a patient, and which.'),
    open.length ? rows(open, true, 'review-open') : el('p', {}, 'Everything is reviewed.'),
    open.length > 1 ? all : null,
    done.length ? el('details', { 'data-key': 'reviewed' }, el('summary', {}, `Reviewed: ${done.length}`), rows(done, true)) : null,
    el('div', { class: 'row' }, acting('% about a patient', 'attribute', true, attribute), acting('% about no single one', 'nobody', false, nobody)));
}

function signOff(group, items) {
  const ready = items.filter((it) => it.state === 'reviewed');
  const signed = items.filter((it) => it.state === 'signed-off');
  if (!ready.length && !signed.length) return null;
  return el('section', { class: 'card', 'aria-labelledby': 'sign-title' },
    el('h2', { id: 'sign-title' }, '2. Sign off'),
    el('p', { class: 'hint' }, 'Your name and the time stand beside what you sign off. It can be taken back until it is sent.'),
    ready.length ? el('div', { class: 'row' }, button(`Sign off ${many(ready.length)}`, true, 'sign', () => sure(`${many(ready.length)} of “${group.name}” will carry your name.`,
      (token) => call('POST', `${path}/transfer/sign-off`, { messages: ready.map((it) => it.id) }, token), `${many(ready.length)} signed off`))) : null,
    signed.length ? el('details', { 'data-key': 'signed' }, el('summary', {}, `Signed off: ${signed.length}`), rows(signed),
      el('div', { class: 'row' }, button('Take it back', false, 'withdraw', () => attempt(() => call('POST', `${path}/transfer/withdraw`, { messages: signed.map((it) => it.id) }), 'Taken back')))) : null);
}

function bar(p) {
  return el('p', { class: 'progress' }, el('progress', { max: p.messages || 1, value: p.transferred, 'aria-label': 'Sent' }), ` ${p.transferred} of ${p.messages}`);
}

function sending(group, items, record) {
  const p = group.progress;
  const signed = items.filter((it) => it.state === 'signed-off').length;
  const stands = items.filter((it) => it.state === 'transferred');
  const running = p?.state === 'running';
  const send = () => sure(`${many(signed)} will be sent to ${record}.`, (token) => call('POST', `${path}/transfer/send`, undefined, token), 'Sending has begun');
  const out = () => sure('The file holds everything that was said here, and stands open to whoever has it.',
    (token) => save(`${path}/transfer/export`, token, `${group.name.replace(/[^\p{L}\p{N}]+/gu, '-')}.json`), 'The file was written');
  return el('section', { class: 'card', 'aria-labelledby': 'send-title' },
    el('h2', { id: 'send-title' }, '3. Into the record'),
    group.mode === 'exercise' ? el('p', { class: 'doubt' }, 'This is an exercise. It is never sent to the medical record; a file of it says so in every part.')
      : !record ? el('p', { class: 'hint' }, 'No address of a record is set on this device: write a file instead.') : null,
    running ? bar(p) : null,
    p?.stopped ? el('p', { class: 'doubt' }, `It stopped: ${p.stopped}`) : null,
    stands.length ? el('details', { 'data-key': 'stands' }, el('summary', {}, `In the record: ${stands.length}`), rows(stands)) : null,
    el('div', { class: 'row' },
      running ? button('Stop', false, 'stop', () => attempt(() => call('DELETE', `${path}/transfer/send`), 'Stopped')) : null,
      !running && signed && record && group.mode !== 'exercise' ? button(`Send ${many(signed)}`, true, 'send', send) : null,
      button('Write a file', false, 'export', out)));
}

/** everything fetches all messages of the conversation, page by page. */
async function everything() {
  const all = [];
  for (let page = null; page === null || page.length === 500;) {
    page = (await call('GET', `${path}/transfer${all.length ? `?after=${all[all.length - 1].id}` : ''}`)).messages;
    all.push(...page);
  }
  return all;
}

const load = soon(async () => {
  try {
    const [{ groups, record }, messages, retention, { holds }, status, { people }] = await Promise.all([
      call('GET', '/v1/transfer'), everything(), call('GET', `${path}/retention`), call('GET', `${path}/holds`), call('GET', '/v1/status'), call('GET', '/v1/people')]);
    learn(people);
    const group = groups.find((g) => g.group === id);
    if (!group) return say(byId('error'), 'There is nothing in this conversation that could go into the record.');
    withPIN = status.has_pin;
    const now = JSON.stringify([group, record, messages, retention, holds]);
    if (now === drawn) return undefined;
    drawn = now;
    exercise(group.mode === 'exercise');
    say(byId('where'), [group.name, group.words || counted(group).join(' · ')].filter(Boolean).join('. '));
    for (const one of chosen) if (!messages.some((it) => it.id === one && ['waiting', 'reviewed', 'refused', 'exercise'].includes(it.state))) chosen.delete(one);
    renew(byId('steps'), settling(group, { path, sure, question }), review(messages), signOff(group, messages), sending(group, messages, record), keeping(retention, holds, { path, attempt, sure, question }), erasing(messages, { path, sure, question }));
    choosing();
  } catch (error) {
    say(byId('error'), error.message);
  }
  return undefined;
});

ofConversation();
begin(['transfer', 'message', 'group', 'erased'], load);
