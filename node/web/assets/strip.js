// The bar and the connection strip: who this device belongs to, and in words who is in reach and how old what is known of lost devices is.

import { byId, join, say, soon } from '/assets/dom.js';
import { call, leave } from '/assets/session.js';
import { listen } from '/assets/events.js';
import { start as idle } from '/assets/idle.js';
import { start as calls } from '/assets/calls.js';
import { start as notify } from '/assets/notify.js';
import { learn } from '/assets/names.js';
import { elsewhere } from '/assets/exercise.js';

const about = new Set(['peers', 'people', 'unlock', 'trust', 'ready', 'gap', 'fork', 'thrift', 'group']);

/** words says who is in reach. */
export function words(status, people) {
  if (!status.online) return 'The mesh is switched off on this device. Messages are saved here and wait.';
  const names = [...new Set(people.filter((p) => p.reachable && !p.self && !p.relay).map((p) => p.name))];
  const unnamed = status.peers - people.filter((p) => p.reachable && !p.self && !p.relay).length;
  if (status.peers === 0) return 'Nobody is in reach. Messages are saved here and go out when somebody is.';
  const shown = names.slice(0, 3);
  const more = names.length - shown.length;
  if (more > 0) shown.push(more === 1 ? '1 other' : `${more} others`);
  if (unnamed > 0) shown.push(unnamed === 1 ? '1 more device' : `${unnamed} more devices`);
  return `In reach: ${join(shown)}.`;
}

/** waits says that something is here which cannot be read before what belongs ahead of it. */
const waits = (n) => (n > 0 ? `${n === 1 ? '1 message is' : `${n} messages are`} here and cannot be opened yet: earlier messages are still on their way.` : '');

const order = ['fresh', 'ageing', 'stale', 'none'];

/** age says how old what is known of revoked devices is: the worst of all issuers. */
export function age(revocation) {
  const worst = Math.max(-1, ...(revocation ?? []).map((r) => order.indexOf(r.state)));
  return [
    '', 'Revocations: as of today.', 'Revocations: some days old.', 'Revocations: over a week old.', 'Revocations: not heard yet.',
  ][worst + 1];
}

function place() {
  const here = document.body.className.replace('page-', '');
  const page = { new: 'conversations', conversation: 'conversations', say: 'conversations', board: 'conversations', everybody: 'conversations', verify: 'people' }[here] ?? here;
  for (const link of document.querySelectorAll('.places a')) {
    if (link.dataset.page === page) link.setAttribute('aria-current', here === page ? 'page' : 'true');
  }
}

async function load() {
  const strip = byId('strip');
  if (!strip) return; // the page is being left
  try {
    const [status, { people }] = await Promise.all([call('GET', '/v1/status'), call('GET', '/v1/people')]);
    if (status.locked) {
      leave();
      return;
    }
    learn(people);
    say(byId('who'), status.name);
    idle(status.idle_lock_seconds);
    elsewhere(status.exercises ?? 0);
    const state = status.problem ? 'alarm' : !status.online || status.peers === 0 ? 'alone' : 'reach';
    strip.dataset.state = state;
    const slow = status.low_bandwidth?.words;
    say(byId('reach'), status.problem ? status.problem : [words(status, people), slow, waits(status.waiting)].filter(Boolean).join(' '));
    say(byId('age'), age(status.revocation));
  } catch (error) {
    strip.dataset.state = 'alarm';
    say(byId('reach'), error.message);
  }
}

/** start fills the bar and keeps it true. */
export function start() {
  place();
  const refresh = soon(load);
  listen((event) => {
    if (about.has(event.type)) refresh();
    if (event.type === 'broken') {
      byId('strip').dataset.state = 'alarm';
      say(byId('reach'), 'The node on this computer does not answer. Trying again …');
    }
  });
  calls();
  notify();
  // Who is in reach changes without anything being said.
  setInterval(() => document.visibilityState === 'visible' && refresh(), 10000);
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && refresh());
  byId('lock').addEventListener('click', async () => {
    await call('POST', '/v1/lock');
    leave();
  });
  refresh();
}
