// A question before something is done: why, and whether.

import { byId, el, say } from '/assets/dom.js';

let asked = 0;

/**
 * question asks, and resolves to what was typed ('' where nothing is asked for), or to null when the user thinks better of it.
 * ask: {title, words, label, hint, required, action, alarm, node}.
 */
export function question(ask) {
  return new Promise((done) => {
    const n = `ask-${asked += 1}`;
    let answer = null;
    const field = ask.label ? el('textarea', { id: n, rows: 2, 'aria-describedby': `${n}-error` }) : null;
    const error = el('p', { class: 'error', id: `${n}-error`, role: 'alert' });
    const go = el('button', { class: ask.alarm ? 'alarm' : 'main', type: 'submit' }, ask.action);
    const cancel = el('button', { type: 'button' }, 'Cancel');
    const form = el('form', { class: 'card', novalidate: true },
      el('h2', { id: `${n}-title` }, ask.title), ask.words ? el('p', {}, ask.words) : null, ask.node ?? null,
      field ? el('label', { for: n }, ask.label) : null, error, field, el('div', { class: 'row' }, go, cancel));
    const dialog = el('dialog', { class: 'again', 'aria-labelledby': `${n}-title` }, form);
    cancel.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => { dialog.remove(); done(answer); });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = field ? field.value.trim() : '';
      if (ask.required && text === '') {
        say(error, ask.required);
        field.focus();
        return;
      }
      answer = text;
      dialog.close();
    });
    byId('main').after(dialog);
    dialog.showModal();
    (field ?? go).focus();
  });
}
