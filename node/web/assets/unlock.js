// The way in: a one-time code for this browser, then the passphrase if the device is locked.

import { byId, say } from '/assets/dom.js';
import { ask, back, keep, known } from '/assets/session.js';

const steps = { wait: byId('wait'), code: byId('code-form'), unlock: byId('unlock-form') };

function show(step) {
  for (const [name, node] of Object.entries(steps)) node.hidden = name !== step;
  const field = { code: byId('code'), unlock: byId('passphrase') }[step];
  if (field) field.focus();
}

function fail(field, message) {
  say(byId(`${field}-error`), message);
  byId(field).setAttribute('aria-invalid', message ? 'true' : 'false');
  if (message) byId(field).focus();
}

/** next goes on to whatever is still missing. */
async function next() {
  if (!(await known())) return show('code');
  try {
    const status = await ask('GET', '/v1/status');
    if (status.locked) return show('unlock');
    location.replace(back());
  } catch (error) {
    show('code');
    if (error.code !== 'unauthorised') fail('code', error.message);
  }
}

async function take(code) {
  try {
    const session = await ask('POST', '/v1/session', { code });
    keep(session.token);
  } catch (error) {
    show('code');
    fail('code', error.message);
    return;
  }
  await next();
}

steps.code.addEventListener('submit', (event) => {
  event.preventDefault();
  const code = byId('code').value.trim();
  if (code === '') return fail('code', 'Type the code that tocsin open shows.');
  fail('code', '');
  take(code);
});

steps.unlock.addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = byId('passphrase');
  const button = steps.unlock.querySelector('button');
  if (field.value.trim() === '') return fail('passphrase', 'Type the passphrase of this device.');
  fail('passphrase', '');
  button.disabled = true;
  say(button, 'Unlocking …');
  try {
    await ask('POST', '/v1/unlock', { passphrase: field.value });
    field.value = '';
    location.replace(back());
  } catch (error) {
    if (error.code === 'unauthorised') show('code');
    else fail('passphrase', error.message);
  } finally {
    button.disabled = false;
    say(button, 'Unlock');
  }
});

byId('reveal').addEventListener('change', ({ target }) => {
  byId('passphrase').type = target.checked ? 'text' : 'password';
});

// The code arrives in the fragment, which no server sees. It leaves the address, and with it the history, at once.
function fromAddress() {
  const code = new URLSearchParams(location.hash.slice(1)).get('code');
  if (code) {
    history.replaceState(null, '', '/unlock');
    take(code);
  }
  return Boolean(code);
}

window.addEventListener('hashchange', fromAddress);
if (!fromAddress()) next();
