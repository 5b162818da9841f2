// Asking which patient messages are about.

import { byId, el, say } from '/assets/dom.js';

/** valid reports whether ten digits are an NHS number: the last is the check digit of the others (weights 10 to 2, modulus 11). */
export function valid(number) {
  if (!/^\d{10}$/.test(number)) return false;
  const sum = [...number.slice(0, 9)].reduce((s, d, i) => s + Number(d) * (10 - i), 0);
  const check = (11 - (sum % 11)) % 11;
  return check !== 10 && check === Number(number[9]);
}

/** patient asks, and resolves to a patient as the node takes one, or to null when the user thinks better of it. */
export function patient(count) {
  return new Promise((done) => {
    let answer = null;
    const input = (id, more = {}) => el('input', { id, type: 'text', autocomplete: 'off', spellcheck: 'false', ...more });
    const number = input('nhs-number', { inputmode: 'numeric', 'aria-describedby': 'nhs-hint nhs-error' });
    const error = el('p', { class: 'error', id: 'nhs-error', role: 'alert' });
    const traced = el('input', { type: 'checkbox', id: 'nhs-traced' });
    const family = input('nhs-family');
    const given = input('nhs-given');
    const born = input('nhs-born', { placeholder: '1980-12-31', 'aria-describedby': 'born-error' });
    const bornError = el('p', { class: 'error', id: 'born-error', role: 'alert' });
    const field = (label, node, ...more) => el('div', { class: 'field' }, el('label', { for: node.id }, label), ...more, node);
    const cancel = el('button', { type: 'button' }, 'Cancel');
    const form = el('form', { class: 'card', novalidate: true },
      el('h2', { id: 'patient-title' }, count === 1 ? 'Which patient is this message about?' : `Which patient are these ${count} messages about?`),
      field('NHS number', number, el('p', { class: 'hint', id: 'nhs-hint' }, 'Ten digits, from the wristband. The last one is checked.'), error),
      el('label', { class: 'tick' }, traced, 'The number was traced in the national service'),
      el('details', {}, el('summary', {}, 'Name and date of birth, where they are known'), field('Family name', family), field('Given name', given), field('Date of birth', born, bornError)),
      el('div', { class: 'row' }, el('button', { class: 'main', type: 'submit' }, 'It is this patient'), cancel));
    const dialog = el('dialog', { class: 'again', 'aria-labelledby': 'patient-title' }, form);
    cancel.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => { dialog.remove(); done(answer); });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const digits = number.value.replace(/[\s-]/g, '');
      const wrong = valid(digits) ? '' : /^\d{10}$/.test(digits) ? 'The check digit does not fit: read the number again.' : 'An NHS number has ten digits.';
      say(error, wrong);
      number.setAttribute('aria-invalid', wrong ? 'true' : 'false');
      if (wrong) return number.focus();
      const day = born.value.trim();
      const noDay = day && !/^\d{4}-\d{2}-\d{2}$/.test(day) ? 'Write the date of birth as 1980-12-31.' : '';
      say(bornError, noDay);
      if (noDay) return born.focus();
      answer = { nhs_number: digits, traced: traced.checked, family: family.value.trim(), given: given.value.trim(), born: day };
      dialog.close();
      return undefined;
    });
    byId('main').after(dialog);
    dialog.showModal();
    number.focus();
  });
}
