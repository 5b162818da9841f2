// All boards at a glance: one tile each, with what stands in a few words.

import { el } from '/assets/dom.js';

const count = (n, one, many) => (n === 1 ? `1 ${one}` : `${n} ${many}`);
const states = { standby: 'Standby', declared: 'Declared', 'stand-down': 'Stood down', cancelled: 'Cancelled' };

function triaged(casualties) {
  const by = ['p1', 'p2', 'p3', 'deceased'].map((t) => [t === 'deceased' ? 'deceased' : t.toUpperCase(), casualties.filter((c) => c.triage === t).length]).filter(([, n]) => n > 0);
  return by.map(([t, n]) => `${t} ${n}`).join(' · ');
}

export function draw({ board, id }) {
  const open = board.call_outs.filter((c) => !c.closed);
  const sounding = board.alerts.filter((a) => a.sounds);
  const coming = open.reduce((n, c) => n + c.coming.length, 0);
  const undone = board.tasks.filter((t) => t.open);
  const tiles = [
    ['incident', 'Incident', board.incident ? `${board.incident.name}: ${states[board.incident.state] ?? board.incident.state}` : 'None declared', ''],
    ['alerts', 'Alerts', sounding.length ? `${count(sounding.length, 'alert sounds', 'alerts sound')}: nobody has acknowledged` : 'None sounds', sounding.length ? 'loud' : ''],
    ['call-outs', 'Call-outs', open.length ? `${count(open.length, 'call-out open', 'call-outs open')}, ${coming} coming` : 'None is open', ''],
    ['casualties', 'Casualties', board.casualties.length ? `${count(board.casualties.length, 'tag', 'tags')}: ${triaged(board.casualties)}` : 'None tagged', ''],
    ['tasks', 'Tasks', undone.length ? `${undone.length} open` : 'None open', ''],
    ['decisions', 'Decisions', board.decisions.length ? `${count(board.decisions.length, 'entry', 'entries')} in the log` : 'The log is empty', ''],
    ['duty', 'On duty', board.duties.length ? count(board.duties.length, 'role held', 'roles held') : 'Nobody has taken a role', ''],
    ['transfer', 'Record', 'Hand it over, hold or keep it', ''],
  ];
  const cards = board.cards ?? [];
  return { nodes: [
    el('ul', { class: 'tiles' }, ...tiles.map(([where, name, words, loud]) => el('li', {},
      el('a', { class: `tile ${loud}`, href: `/c/${id}/${where}` }, el('span', { class: 'name' }, name), el('span', { class: 'state' }, words))))),
    ...cards.map(card),
  ] };
}

/** card is an action card: what the reader has to do now. */
export function card(c) {
  return el('section', { class: 'card actions', 'aria-label': c.title || c.name },
    el('h2', {}, c.title || c.name), c.when ? el('p', { class: 'hint' }, c.when) : null, el('ol', {}, ...c.steps.map((s) => el('li', { dir: 'auto' }, s))));
}
