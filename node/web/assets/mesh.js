// Who is in reach: a picture for a glance, and the same in words with what is known of each line.

import { ago, byId, el, join, say, soon, svg } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { begin } from '/assets/page.js';

const ways = { quic: 'directly (QUIC)', tcp: 'directly (TCP)', ws: 'directly (WebSocket)', relay: 'through a relay' };

// A line on which a message of priority stat is felt to be late, or which loses so much that it is soon to break.
const SLOW_MS = 500;
const LOSSY = 0.05;

/** poor says in words what is wrong with a line; empty where nothing is. */
export function poor(peer) {
  return [peer.latency_ms > SLOW_MS ? 'slow' : '', peer.loss > LOSSY ? `loses ${Math.round(peer.loss * 100)} of 100 packets` : ''].filter(Boolean).join(', ');
}

/** initials are at most two letters of a name. */
export function initials(name) {
  const parts = name.split(/\s+/).filter(Boolean);
  return [...new Set([parts[0], parts[parts.length - 1]])].map((part) => [...(part ?? '')][0] ?? '').join('').toUpperCase();
}

/** ring places n points round the middle of a box of 360 by 260, the first at the top; on two rings where one would be crowded. */
export function ring(n) {
  const outer = n > 14 ? Math.ceil(n * 0.62) : n;
  const at = (i, count, share, turn) => {
    const angle = 2 * Math.PI * (i / count) + turn - Math.PI / 2;
    return { x: 180 + 138 * share * Math.cos(angle), y: 124 + 94 * share * Math.sin(angle) };
  };
  return Array.from({ length: n }, (_, i) => (i < outer ? at(i, outer, 1, 0) : at(i - outer, n - outer, 0.58, Math.PI / n)));
}

function mark(one, { x, y }, label) {
  const shape = one.relay
    ? svg('rect', { x: x - 15, y: y - 15, width: 30, height: 30, rx: 5 })
    : svg('circle', { cx: x, cy: y, r: 16 });
  const node = svg('g', { class: one.self ? 'self' : poor(one) ? 'poor' : 'good' }, shape, svg('text', { x, y: y + 4.5 }, initials(one.name)));
  if (label) node.append(svg('text', { x, y: y + 31, class: 'label' }, one.name.length > 16 ? `${[...one.name].slice(0, 15).join('')}…` : one.name));
  if (!one.self && poor(one)) node.append(svg('text', { x: x + 17, y: y - 10, class: 'doubt' }, '!'));
  return node;
}

function picture(own, near) {
  const middle = { x: 180, y: 124 };
  const places = ring(near.length);
  const drawing = svg('svg', { viewBox: '0 0 360 260', role: 'img', 'aria-label': `This device in the middle, with ${near.length === 1 ? 'one line to a device' : `lines to ${near.length} devices`} round it. The list below says the same in words.` });
  near.forEach((one, i) => drawing.append(svg('line', { x1: middle.x, y1: middle.y, x2: places[i].x, y2: places[i].y, class: one.transport === 'relay' ? 'relayed' : 'direct' })));
  near.forEach((one, i) => drawing.append(mark(one, places[i], near.length <= 8)));
  drawing.append(mark({ name: own, self: true }, middle, false));
  return drawing;
}

function row(one) {
  const bad = poor(one);
  const facts = [ways[one.transport] ?? one.transport, one.latency_ms > 0 ? `${one.latency_ms < 10 ? one.latency_ms.toFixed(1) : Math.round(one.latency_ms)} ms` : '',
    one.queued > 0 ? `${Math.ceil(one.queued / 1024)} KiB wait to be sent` : '', `since ${ago(one.since)}`];
  return el('li', { 'data-peer': one.id },
    el('div', { class: 'top' }, el('h3', { class: 'name', dir: 'auto' }, one.name), bad ? el('span', { class: 'badge doubt' }, `Poor line: ${bad}`) : null),
    el('p', { class: 'hint' }, [one.relay ? 'Relay' : '', one.org].filter(Boolean).join(' · ')),
    el('p', { class: 'hint' }, facts.filter(Boolean).join(' · ')));
}

const cutRow = (name) => (cut) => el('li', {}, el('p', {}, el('span', { class: 'name', dir: 'auto' }, name(cut)), ` ${cut.words}.`),
  el('p', { class: 'hint' }, `${ago(cut.at)} · ${new Date(cut.until) > new Date() ? 'still cut off' : 'may come back'}`));

/** named joins neighbours with the people behind them, the nearest in name first. */
export function named(peers, people) {
  const behind = new Map(people.filter((p) => p.peer_id).map((p) => [p.peer_id, p]));
  return peers.map((peer) => ({ ...peer, name: behind.get(peer.id)?.name || `A device of ${peer.org || 'an organisation'}`, relay: behind.get(peer.id)?.relay ?? false }))
    .sort((a, b) => a.name.localeCompare(b.name, 'en-GB') || a.id.localeCompare(b.id));
}

function show(status, people, all) {
  const near = named(all.peers, people);
  byId('picture').replaceChildren(...(near.length ? [picture(status.name, near)] : []));
  byId('legend').hidden = near.length === 0;
  byId('near').replaceChildren(...near.map(row));
  byId('nobody').hidden = near.length > 0;
  say(byId('nobody'), status.online ? 'No device is in reach. Messages are saved here and go out when one is.' : 'The mesh is switched off on this device. Messages are saved here and wait.');
  const away = [...new Set(people.filter((p) => p.valid && !p.reachable && !p.self && !p.replaced_by).map((p) => p.name))];
  byId('away-part').hidden = away.length === 0;
  say(byId('away'), join(away.length > 30 ? [...away.slice(0, 30), `${away.length - 30} others`] : away));
  byId('cut-part').hidden = all.cuts.length === 0;
  const name = new Map(named(all.cuts, people).map((c) => [c.id, c.name]));
  byId('cuts').replaceChildren(...all.cuts.map(cutRow((cut) => name.get(cut.id))));
  for (const [id, words] of [['warning', all.warning], ['thrift', status.low_bandwidth?.words]]) {
    byId(id).hidden = !words;
    say(byId(id), words ?? '');
  }
  const addresses = (status.addrs ?? []).filter((a) => !/\/(ip4\/127\.|ip6\/::1\/)/.test(a));
  byId('no-address').hidden = addresses.length > 0;
  byId('addresses').replaceChildren(...addresses.map((a) => el('li', {}, el('code', {}, a))));
}

const load = soon(async () => {
  try {
    const [status, { people }, all] = await Promise.all([call('GET', '/v1/status'), call('GET', '/v1/people'), call('GET', '/v1/peers')]);
    show(status, people, all);
    say(byId('error'), '');
  } catch (error) {
    say(byId('error'), error.message);
  }
});

begin(['peers', 'people', 'trust', 'thrift'], load);
// A line gets better or worse without anything being said.
setInterval(() => document.visibilityState === 'visible' && load(), 10000);
