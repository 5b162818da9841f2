// How long a conversation is kept on its members' devices, and what holds it.

import { byId, el, say, time } from '/assets/dom.js';
import { call } from '/assets/session.js';

const bases = { legal: 'Legal', clinical: 'Clinical', inquiry: 'Inquiry' };

function hold(h, { path, sure, question }) {
  const end = async () => {
    const why = await question({ title: 'End this hold?', words: h.reason, label: 'Why does it end?', required: 'Say why it ends.', action: 'End it' });
    if (why !== null) await sure('What nothing holds any more is erased when it is due.', (token) => call('POST', `${path}/holds/${h.id}/end`, { reason: why }, token), 'The hold ends');
  };
  return el('li', { class: h.ended ? 'past' : '' }, el('p', { dir: 'auto' }, el('strong', {}, bases[h.basis] ?? h.basis), `: ${h.reason}`),
    el('p', { class: 'hint' }, `${h.by}, `, time(h.at, true), h.ended ? ` · ended by ${h.ended_by}: ${h.end_reason}` : ''),
    h.ended ? null : el('button', { type: 'button', 'data-key': `end-${h.id}`, on: { click: end } }, 'End it', el('span', { class: 'unseen' }, `: ${h.reason}`)));
}

/** ask asks for the basis and the reason of a hold, and resolves to both or to null. */
function ask() {
  return new Promise((done) => {
    let answer = null;
    const basis = el('select', { id: 'hold-basis' }, ...Object.entries(bases).map(([value, words]) => el('option', { value }, words)));
    const reason = el('textarea', { id: 'hold-reason', rows: 2, 'aria-describedby': 'hold-error' });
    const error = el('p', { class: 'error', id: 'hold-error', role: 'alert' });
    const cancel = el('button', { type: 'button' }, 'Cancel');
    const form = el('form', { class: 'card', novalidate: true }, el('h2', { id: 'hold-title' }, 'Hold this conversation?'),
      el('p', {}, 'Nothing in it is erased by rule, on any device of its members, until the hold is ended.'),
      el('label', { for: 'hold-basis' }, 'Basis'), basis, el('label', { for: 'hold-reason' }, 'Reason'), error, reason,
      el('div', { class: 'row' }, el('button', { class: 'main', type: 'submit' }, 'Hold it'), cancel));
    const dialog = el('dialog', { class: 'again', 'aria-labelledby': 'hold-title' }, form);
    cancel.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => { dialog.remove(); done(answer); });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (reason.value.trim() === '') {
        say(error, 'Say why it is held.');
        return reason.focus();
      }
      answer = { basis: basis.value, reason: reason.value.trim() };
      dialog.close();
      return undefined;
    });
    byId('main').after(dialog);
    dialog.showModal();
    reason.focus();
  });
}

/** keeping draws how long a conversation is kept. */
export function keeping(r, holds, ctx) {
  const { path, sure, question } = ctx;
  const place = async () => {
    const h = await ask();
    if (h) await sure('Your name stands beside the hold.', (token) => call('POST', `${path}/holds`, h, token), 'It is held');
  };
  const days = async () => {
    const given = await question({ title: 'How long is it kept?', words: 'In days after the incident’s end; 0 keeps it until somebody erases it. It counts for every member.', label: 'Days', required: 'Say how many days.', action: 'Set it' });
    if (given === null) return;
    if (!/^\d{1,5}$/.test(given)) {
      say(byId('error'), 'The days are a number such as 30.');
      return;
    }
    await sure('What is due under the new rule is erased on every member’s device.', (token) => call('PUT', `${path}/retention`, { days: Number(given) }, token), 'It is set');
  };
  return el('section', { class: 'card', 'aria-labelledby': 'keep-title' },
    el('h2', { id: 'keep-title' }, 'How long it is kept'),
    el('p', {}, r.words),
    r.kept.length ? el('ul', { class: 'plain' }, ...r.kept.map((k) => el('li', {}, k))) : null,
    holds.length ? el('ul', { class: 'holds' }, ...holds.map((h) => hold(h, ctx))) : null,
    el('div', { class: 'row' }, el('button', { type: 'button', 'data-key': 'hold', on: { click: place } }, 'Hold it'), el('button', { type: 'button', 'data-key': 'days', on: { click: days } }, 'Change the time')));
}
