// Drafts are looked through for what identifies a patient while they are written. Nothing is refused: a human decides, and one press
// puts initials and bed in its place.

import { el, join, say } from '/assets/dom.js';
import { call } from '/assets/session.js';

const STAND_IN = '[initials, bed]';
const PAUSE = 300; // milliseconds without a key

let made = 0;

/** watch looks at what is typed into a field, and puts a notice after it (or after where) when something is found. */
export function watch(field, where = field) {
  const id = `found-${made += 1}`;
  const words = el('p', {});
  const button = el('button', { type: 'button' }, 'Replace with initials and bed');
  const notice = el('div', { class: 'found', id, role: 'status', hidden: true }, words, button);
  where.after(notice);
  let timer = null;
  let run = 0;
  async function look() {
    const mine = run += 1;
    const text = field.value;
    if (text.trim() === '') return show([]);
    try {
      const { found } = await call('POST', '/v1/drafts', { text, with: STAND_IN });
      if (mine === run) show(found);
    } catch {
      // What cannot be looked at now is looked at with the next key; sending is not held up by it.
    }
    return undefined;
  }
  function show(found) {
    const kinds = [...new Set(found.map((f) => f.words))];
    notice.hidden = kinds.length === 0;
    if (kinds.length > 0) say(words, `This looks like ${join(kinds)}. Leave patients’ details out where initials and a bed will do.`);
  }
  field.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  });
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      const { replaced } = await call('POST', '/v1/drafts', { text: field.value, with: STAND_IN });
      run += 1;
      field.value = replaced;
      show([]);
      // What stands in is marked, so that the next key writes over it.
      const at = replaced.indexOf(STAND_IN);
      field.focus();
      if (at >= 0) field.setSelectionRange(at, at + STAND_IN.length);
    } catch (error) {
      say(words, error.message);
    } finally {
      button.disabled = false;
    }
  });
  return { clear: () => { run += 1; show([]); } };
}
