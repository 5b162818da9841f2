// The way in: a one-time code for this browser, then the PIN or the passphrase if the device is locked.

import { byId, say } from '/assets/dom.js';
import { ask, back, keep, known } from '/assets/session.js';
import { waiting } from '/assets/reauth.js';
import { allowed, show as notify, text } from '/assets/notify.js';

const steps = { wait: byId('wait'), code: byId('code-form'), pin: byId('pin-form'), unlock: byId('unlock-form'), wiped: byId('wiped') };

function show(step) {
  for (const [name, node] of Object.entries(steps)) node.hidden = name !== step;
  const field = { code: byId('code'), pin: byId('pin'), unlock: byId('passphrase'), wiped: byId('wiped').querySelector('h1') }[step];
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
    if (status.wiped) return show('wiped');
    if (status.locked && status.pin_ready) return showPIN(status.pin_attempts);
    if (status.locked && status.lease_ended) return passphrase('Nobody has unlocked it for seven days, so only the passphrase opens it.');
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
    else if (error.code === 'wiped') show('wiped');
    else fail('passphrase', error.message);
  } finally {
    button.disabled = false;
    say(button, 'Unlock');
  }
});

function showPIN(left) {
  tries(left);
  show('pin');
}

/** tries says how many there are, once it is no longer all of them. */
function tries(left) {
  say(byId('pin-hint'), left < 10 ? `${left === 1 ? '1 try is' : `${left} tries are`} left. Then only the passphrase opens it; no message is lost.` : '');
}

function passphrase(why) {
  say(byId('unlock-why'), why);
  show('unlock');
}

let pause = null;

/** wait counts down until the next PIN may be tried. */
function wait(seconds) {
  clearInterval(pause);
  const button = steps.pin.querySelector('button[type=submit]');
  const until = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.disabled = left > 0;
    say(button, left > 0 ? `Wait ${waiting(left)}` : 'Unlock');
    if (left <= 0) clearInterval(pause);
  };
  pause = setInterval(tick, 250);
  tick();
}

function refusedPIN(error) {
  const field = byId('pin');
  field.value = '';
  if (error.code === 'unauthorised') return show('code');
  if (error.code === 'no_pin' || error.left === 0) return passphrase('The PIN is used up, so only the passphrase opens it. No message is lost.');
  fail('pin', error.code === 'wrong_pin' ? 'This is not the PIN.' : error.message);
  if (error.left !== undefined) tries(error.left);
  if (error.wait > 0) wait(error.wait);
  return undefined;
}

steps.pin.addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = byId('pin');
  const button = steps.pin.querySelector('button[type=submit]');
  if (field.value.trim() === '') return fail('pin', 'Type the PIN of this device.');
  if (button.disabled) return undefined;
  fail('pin', '');
  button.disabled = true;
  say(button, 'Unlocking …');
  let refused = null;
  try {
    await ask('POST', '/v1/unlock', { pin: field.value });
    location.replace(back());
  } catch (error) {
    refused = error;
  }
  button.disabled = false;
  say(button, 'Unlock');
  return refused && refusedPIN(refused);
});

byId('use-passphrase').addEventListener('click', () => show('unlock'));

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

// A locked device cannot say who calls whom, only that something stat has come since.
async function knocks() {
  if (steps.pin.hidden && steps.unlock.hidden) return;
  try {
    const { stat_waiting: count = 0 } = await ask('GET', '/v1/status');
    if (count > 0 && byId('knock').hidden && document.visibilityState !== 'visible' && allowed() === 'granted') notify(text({ priority: 'stat' }), true);
    byId('knock').hidden = count === 0;
    say(byId('knock-words'), count === 0 ? '' : 'Something stat has come since this device was locked. Unlock it to see whether it calls you.');
  } catch {
    // The form says what is wrong when it is used.
  }
}
setInterval(knocks, 3000);

window.addEventListener('hashchange', fromAddress);
if (!fromAddress()) next();
