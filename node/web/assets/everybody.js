// A message to everybody admitted, past all conversations. It asks for the reason, and once more whether.

import { byId, say } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { begin } from '/assets/page.js';
import { question } from '/assets/dialog.js';
import { watch } from '/assets/draft.js';

const form = byId('form');
const text = byId('text');
const reason = byId('reason');

function fail(field, message) {
  say(byId(`${field.id}-error`), message);
  field.setAttribute('aria-invalid', message ? 'true' : 'false');
  if (message) field.focus();
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  for (const field of [text, reason]) fail(field, '');
  say(byId('error'), '');
  if (text.value.trim() === '') return fail(text, 'Write the message.');
  if (reason.value.trim() === '') return fail(reason, 'Say why everybody must have this.');
  const sure = await question({ title: 'Send to everybody?', words: 'Every clinician in the mesh gets it, with your name and your reason. It cannot be taken back.', action: 'Send to everybody', alarm: true });
  if (sure === null) return undefined;
  const button = form.querySelector('button[type=submit]');
  button.disabled = true;
  try {
    await call('POST', '/v1/broadcast', { text: text.value, reason: reason.value, priority: form.elements.priority.value });
    form.hidden = true;
    byId('done').hidden = false;
    byId('done-title').focus();
  } catch (error) {
    say(byId('error'), `Not sent. ${error.message}`);
  } finally {
    button.disabled = false;
  }
  return undefined;
});

watch(text);
watch(reason);
begin([], () => {});
