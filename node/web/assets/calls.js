// Alerts that sound, on every page until somebody acknowledges. Those that call this reader are heard as well.

import { byId, ago, el, renew, say, soon } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { learn } from '/assets/names.js';
import { listen } from '/assets/events.js';
import { fieldOf, forWhom, mark } from '/assets/card.js';

const EVERY = 4000; // milliseconds between two calls of the bell
const ended = new Set(); // alerts that will not sound again
let sounding = [];
let silenced = new Set();
let audio = null;

/** ring plays two short tones. A page that nobody has pressed a key on may not: then the banner is all there is, and a phone shakes. */
function ring() {
  navigator.vibrate?.([300, 150, 300]);
  audio ??= new AudioContext();
  if (audio.state !== 'running') return;
  for (const [at, pitch] of [[0, 880], [0.25, 660]]) {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.25, audio.currentTime + at);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + at + 0.22);
    tone.connect(volume).connect(audio.destination);
    tone.start(audio.currentTime + at);
    tone.stop(audio.currentTime + at + 0.23);
  }
}

const loud = () => sounding.filter((a) => a.message.for_me && !a.message.own && !silenced.has(a.message.id));

async function acknowledge(a, error) {
  try {
    await call('POST', `/v1/messages/${a.message.id}/acknowledge`);
    await load();
  } catch (refused) {
    say(error, refused.message);
  }
}

function banner(a) {
  const m = a.message;
  const error = el('p', { class: 'error', role: 'alert' });
  const acts = [el('a', { class: 'button', href: `/c/${m.group}/alerts` }, 'Show')];
  if (!m.own) acts.unshift(el('button', { type: 'button', class: 'main', 'data-key': `call-${m.id}`, on: { click: () => acknowledge(a, error) } }, 'Acknowledge'));
  if (loud().includes(a)) acts.push(el('button', { type: 'button', class: 'quiet', 'data-key': `hush-${m.id}`, on: { click: () => { silenced.add(m.id); draw(); } } }, 'Silence here'));
  return el('div', { class: m.for_me && !m.own ? 'calling loud' : 'calling', 'data-id': m.id },
    el('p', { class: 'what', dir: 'auto' }, mark(m.exercise), m.exercise ? ' ' : '', el('strong', {}, `${m.own ? 'Your alert' : 'Alert'}: ${fieldOf(m, 'what')}`), ` · ${fieldOf(m, 'where')}`),
    el('p', {}, m.own ? 'Nobody has acknowledged it yet. ' : `${m.from.name || 'Unknown'}, ${ago(m.sent)}. `),
    forWhom(m), error, el('div', { class: 'row' }, ...acts));
}

function draw() {
  const node = byId('calls');
  if (!node) return;
  renew(node, ...sounding.map(banner));
  node.hidden = sounding.length === 0;
  // What sticks to the top of a page sticks below them.
  document.documentElement.style.setProperty('--calls', `${node.offsetHeight}px`);
}

const load = soon(async () => {
  let found;
  try {
    found = (await call('GET', '/v1/search?kind=alert&limit=100')).messages;
  } catch {
    return; // said by the strip
  }
  const open = found.filter((m) => !m.acknowledged && !m.retracted && !ended.has(m.id));
  const { people } = open.length ? await call('GET', '/v1/people').catch(() => ({ people: [] })) : { people: [] };
  const boards = await Promise.all([...new Set(open.map((m) => m.group))].map((g) => call('GET', `/v1/groups/${g}/board`).catch(() => null)));
  learn(people);
  const alerts = boards.flatMap((b) => b?.alerts ?? []);
  for (const a of alerts) if (!a.sounds) ended.add(a.message.id);
  const before = new Set(sounding.map((a) => a.message.id));
  sounding = alerts.filter((a) => a.sounds);
  draw();
  const fresh = sounding.filter((a) => !before.has(a.message.id) && !a.message.own);
  if (fresh.length > 0) say(byId('calls-news'), `Alert: ${fresh.map((a) => `${fieldOf(a.message, 'what')}, ${fieldOf(a.message, 'where')}`).join('. ')}`);
});

/** start shows alerts, and keeps what is shown true. */
export function start() {
  listen((event) => ['message', 'delivery', 'erased', 'group', 'ready', 'gap'].includes(event.type) && load());
  load();
  setInterval(() => loud().length > 0 && ring(), EVERY);
  // Browsers let a page sound only once somebody has touched it.
  window.addEventListener('pointerdown', () => { audio?.resume(); }, { passive: true });
  window.addEventListener('keydown', () => { audio?.resume(); }, { passive: true });
}
