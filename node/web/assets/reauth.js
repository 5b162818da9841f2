// Proving once more who one is, for what cannot be undone: a dialogue that asks for the PIN or the passphrase and returns a token.

import { byId, el, say } from '/assets/dom.js';
import { call, Refused } from '/assets/session.js';

/** waiting says how long an answer asks to wait, in words. */
export function waiting(seconds) {
  if (seconds < 120) return seconds === 1 ? '1 second' : `${seconds} seconds`;
  return `${Math.ceil(seconds / 60)} minutes`;
}

/** again asks, and resolves to a token that one request may use, or null when the user thinks better of it. */
export function again(why, withPIN) {
  return new Promise((done) => {
    let pin = withPIN;
    let token = null;
    const label = el('label', { for: 'again' });
    const error = el('p', { class: 'error', id: 'again-error', role: 'alert' });
    const field = el('input', { id: 'again', type: 'password', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', 'aria-describedby': 'again-error' });
    const other = el('button', { type: 'button', class: 'quiet' });
    const go = el('button', { class: 'main', type: 'submit' }, 'Go on');
    const cancel = el('button', { type: 'button' }, 'Cancel');
    const kind = () => {
      say(label, pin ? 'PIN' : 'Passphrase');
      say(other, pin ? 'Use the passphrase instead' : 'Use the PIN instead');
      other.hidden = !withPIN;
      field.value = '';
      field.focus();
    };
    const form = el('form', { class: 'card', novalidate: true },
      el('h2', { id: 'again-title' }, 'Is it you?'), el('p', {}, why), label, error, field, el('div', { class: 'row' }, go, cancel), other);
    const dialog = el('dialog', { class: 'again', 'aria-labelledby': 'again-title' }, form);
    other.addEventListener('click', () => { pin = !pin; kind(); });
    cancel.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => { dialog.remove(); done(token); });
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (field.value.trim() === '') return say(error, pin ? 'Type the PIN.' : 'Type the passphrase.');
      say(error, '');
      go.disabled = true;
      try {
        token = (await call('POST', '/v1/reauth', pin ? { pin: field.value } : { passphrase: field.value })).token;
        dialog.close();
      } catch (refused) {
        if (refused instanceof Refused) say(error, refused.message);
        if (refused.code === 'no_pin' || refused.left === 0) { withPIN = false; pin = false; kind(); }
        field.select();
      } finally {
        go.disabled = false;
      }
    });
    byId('main').after(dialog);
    dialog.showModal();
    kind();
  });
}
