// Locks, the PIN, how old what is known of lost devices is, and the way to wipe this one.

import { byId, el, say, soon, time } from '/assets/dom.js';
import { call, known, leave } from '/assets/session.js';
import { listen } from '/assets/events.js';
import { start as strip } from '/assets/strip.js';
import { again } from '/assets/reauth.js';
import { allowed, ask } from '/assets/notify.js';

let status = null;

const words = { fresh: 'Fresh', ageing: 'Ageing', stale: 'Old', none: 'Not heard yet' };
const kinds = { fresh: '', ageing: 'doubt', stale: 'bad', none: 'doubt' };

function minutes(seconds) {
  if (seconds < 120) return `${seconds} seconds`;
  return `${Math.round(seconds / 60)} minutes`;
}

function ages() {
  byId('ages').replaceChildren(...(status.revocation ?? []).map((r) =>
    el('li', {}, el('span', { class: `badge ${kinds[r.state]}` }, words[r.state] ?? r.state), el('span', {}, r.words),
      r.updated ? el('span', { class: 'hint' }, 'List of ', time(r.updated, true)) : null)));
  byId('declared').replaceChildren(...(status.declared ?? []).map((d) =>
    el('li', {}, `${d.org} has declared an incident: ${d.incident}. Credentials of theirs that run out meanwhile count a little longer.`)));
}

function facts() {
  const rows = [
    ['You', `${status.name} (${status.person})`],
    ['Credential until', time(status.credential_not_after, true)],
    ['Others let it in until', time(status.ticket_not_after, true)],
    ['Mesh', status.mesh],
    ['Device', status.device.slice(0, 12)],
  ];
  if (status.standing.words) rows.push(['Standing', status.standing.words]);
  byId('facts').replaceChildren(...rows.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

const load = soon(async () => {
  try {
    status = await call('GET', '/v1/status');
    say(byId('idle'), status.idle_lock_seconds > 0
      ? `This device locks itself when nobody has touched it for ${minutes(status.idle_lock_seconds)}. Locked, it carries messages for others and shows none.`
      : 'This device does not lock itself. Locked, it carries messages for others and shows none.');
    say(byId('pin-state'), status.has_pin ? 'A PIN is set. It opens this device until it is switched off.' : 'No PIN is set: only the passphrase opens this device.');
    byId('pin-clear').hidden = !status.has_pin;
    say(byId('pin-set'), status.has_pin ? 'Change the PIN' : 'Set the PIN');
    ages();
    facts();
  } catch (error) {
    say(byId('error'), error.message);
  }
});

function notifications() {
  const state = allowed();
  byId('notify-on').hidden = state !== 'default';
  say(byId('notify-state'), {
    granted: 'This browser shows a notification when something comes while the page is not in front.',
    denied: 'This browser was told not to show notifications. Its own settings for this page change that.',
    default: 'This browser shows no notifications yet.', none: 'This browser has no notifications.',
  }[state]);
}

byId('notify-on').addEventListener('click', async () => {
  await ask();
  notifications();
});

function fail(id, message, field) {
  say(byId(id), message);
  if (field) {
    field.setAttribute('aria-invalid', message ? 'true' : 'false');
    if (message) field.focus();
  }
}

async function lock(path) {
  try {
    await call('POST', path);
    leave();
  } catch (error) {
    say(byId('error'), error.message);
  }
}

byId('lock-now').addEventListener('click', () => lock('/v1/lock'));
byId('lock-hard').addEventListener('click', () => lock('/v1/lock/hard'));

byId('pin-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const first = byId('pin');
  const second = byId('pin-again');
  fail('pin-error', '', first);
  if (first.value.trim().length < 6) return fail('pin-error', 'A PIN has six or more digits or letters.', first);
  if (first.value !== second.value) return fail('pin-error', 'The two are not the same.', second);
  const pin = first.value;
  const token = await again('The PIN is changed only by whoever knows the secret of this device.', status.has_pin);
  if (token === null) return undefined;
  try {
    await call('PUT', '/v1/pin', { pin }, token);
    first.value = second.value = '';
    await load();
  } catch (error) {
    fail('pin-error', error.message, first);
  }
  return undefined;
});

byId('pin-clear').addEventListener('click', async () => {
  const token = await again('Without a PIN only the passphrase opens this device.', status.has_pin);
  if (token === null) return;
  try {
    await call('DELETE', '/v1/pin', undefined, token);
    await load();
  } catch (error) {
    fail('pin-error', error.message);
  }
});

byId('wipe-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const word = byId('wipe-word');
  fail('wipe-error', '', word);
  if (word.value.trim() !== 'WIPE') return fail('wipe-error', 'Type the word WIPE, in capitals.', word);
  const token = await again('This destroys every key on this device, for good.', status.has_pin);
  if (token === null) return undefined;
  try {
    await call('POST', '/v1/wipe', { confirm: 'WIPE' }, token);
    leave();
  } catch (error) {
    fail('wipe-error', error.message, word);
  }
  return undefined;
});

if (await known()) {
  strip();
  notifications();
  listen((event) => ['trust', 'people', 'ready', 'gap', 'unlock'].includes(event.type) && load());
  load();
} else {
  leave();
}
