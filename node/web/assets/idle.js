// A device that nobody touches locks itself. The page says when somebody is there, and warns before it locks.

import { byId, say } from '/assets/dom.js';
import { ask } from '/assets/session.js';

const tabs = new BroadcastChannel('tocsin-idle');
const every = 15000; // how often a touch is passed on at most
const warning = 30000; // how long before it locks the page says so

let limit = 0; // milliseconds; 0 for never
let last = Date.now();
let told = 0;

function touched() {
  last = Date.now();
  if (last - told < every) return;
  told = last;
  tabs.postMessage(last);
  ask('POST', '/v1/touch').catch(() => {}); // a node that does not answer is said elsewhere
}

tabs.addEventListener('message', ({ data }) => { last = Math.max(last, data); });

function look() {
  const left = limit - (Date.now() - last);
  const soon = byId('soon');
  if (!soon) return; // the page is being left
  const show = limit > 0 && left < warning;
  if (show) say(soon, 'Nobody has touched this page for a while, so it locks in a moment. Press any key to stay.');
  else if (!soon.hidden) say(soon, '');
  soon.hidden = !show;
}

let started = false;

/** start watches for a person. seconds is how long the device stays unlocked without one; 0 for ever. */
export function start(seconds) {
  limit = seconds * 1000;
  if (started) return;
  started = true;
  for (const event of ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart']) {
    window.addEventListener(event, touched, { passive: true });
  }
  touched();
  setInterval(look, 1000);
}
