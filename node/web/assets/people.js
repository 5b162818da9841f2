// Who is known, and what there is to say of each: how they came to be trusted, and whether they still are.

import { byId, el, join, say, soon, time } from '/assets/dom.js';
import { call, known, leave } from '/assets/session.js';
import { listen } from '/assets/events.js';
import { start as strip } from '/assets/strip.js';
import { badges } from '/assets/badges.js';

const list = byId('people');

function details(p) {
  const facts = [
    ['Registered as', `${p.regulator.toUpperCase()} ${p.number}`],
    ['Certified by', p.credential],
    ['Until', time(p.not_after, true)],
    ['Device', p.device.slice(0, 12)],
  ];
  if (p.sponsored) facts.push(['Vouched for by', join(p.sponsored.sponsors ?? [])]);
  if (p.verified_at) facts.push(['Verified in person', time(p.verified_at, true)]);
  if (p.wipe) facts.push(['Ordered to wipe itself', time(p.wipe.ordered, true)]);
  if (p.wipe?.receipt) facts.push(['Says it destroyed its keys', time(p.wipe.receipt, true)]);
  if (p.fork) facts.push([`Signed twice at place ${p.fork.seq}`, p.fork.words]);
  if (p.replaced_why) facts.push(['Goes on in a new log', `${time(p.replaced_at, true).textContent}: ${p.replaced_why}`]);
  return el('dl', { class: 'facts' }, ...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

function card(p, open) {
  const role = [p.grade, ...(p.roles ?? [])].filter(Boolean).join(', ');
  return el('li', { class: 'card person-card', 'data-log': p.log },
    el('div', { class: 'top' },
      el('h2', { class: 'name', dir: 'auto' }, p.name),
      el('span', { class: p.reachable || p.self ? 'reach in' : 'reach' }, p.self ? 'This device' : p.reachable ? 'In reach' : 'Out of reach')),
    el('p', { class: 'role' }, [role, p.org].filter(Boolean).join(' · ')),
    badges(p),
    p.standing.words ? el('p', { class: 'note' }, p.standing.words) : null,
    el('details', { open: open.has(p.log) }, el('summary', {}, 'More', el('span', { class: 'unseen' }, ` about ${p.name}`)), details(p),
      p.self || p.relay ? null : el('a', { class: 'button', href: `/verify#${p.log}` }, 'Verify in person', el('span', { class: 'unseen' }, ` ${p.name}`))));
}

const fits = (p, words) => words.every((w) => [p.name, p.org, p.grade, ...(p.roles ?? [])].join(' ').toLowerCase().includes(w));

let people = [];

function draw(say_) {
  const words = byId('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = people.filter((p) => fits(p, words));
  const open = new Set([...list.querySelectorAll('details[open]')].map((d) => d.closest('[data-log]').dataset.log));
  const focused = document.activeElement?.closest?.('[data-log]')?.dataset.log;
  const what = document.activeElement?.localName;
  list.replaceChildren(...shown.map((p) => card(p, open)));
  if (focused) [...list.children].find((c) => c.dataset.log === focused)?.querySelector(what === 'a' ? 'a' : 'summary')?.focus();
  byId('empty').hidden = people.length > 0;
  if (say_) say(byId('found'), `${shown.length} found`);
}

const load = soon(async () => {
  try {
    ({ people } = await call('GET', '/v1/people'));
    draw(false);
    say(byId('error'), '');
  } catch (error) {
    say(byId('error'), error.message);
  }
});

byId('find').addEventListener('input', () => draw(true));

if (await known()) {
  strip();
  listen((event) => ['people', 'peers', 'trust', 'ready', 'gap', 'fork'].includes(event.type) && load());
  load();
} else {
  leave();
}
