// Saying something by a form: first which one, then the form itself.

import { byId, el, say, time } from '/assets/dom.js';
import { call, known, leave } from '/assets/session.js';
import { start as strip } from '/assets/strip.js';
import { here } from '/assets/page.js';
import { addressees } from '/assets/addressees.js';
import { build } from '/assets/form.js';
import { several } from '/assets/pick.js';
import { short } from '/assets/card.js';
import { exercise, ofConversation } from '/assets/exercise.js';

const { id, more: kindName, path } = here();

// Which form is for what, in the words of whoever looks for it. Forms that act on another message are reached from that message.
const forms = [
  ['Report', [['methane', 'From the scene of an incident'], ['sbar', 'Hand a patient or a problem over'], ['atmist', 'Announce a patient who is being brought'], ['briefing', 'Brief a team: IIMARCH']]],
  ['Ask', [['alert', 'Sounds until somebody acknowledges it'], ['call-out', 'Ask staff to come, once'], ['task', 'Ask one person or role to do one thing']]],
  ['Record', [['casualty', 'Tag a casualty, or bring a tag up to date'], ['decision', 'Log a decision and why'], ['role', 'Take or hand over an on-duty role'], ['incident', 'Declare an incident or an exercise']]],
];
const board = { methane: 'incident', incident: 'incident', alert: 'alerts', 'call-out': 'call-outs', task: 'tasks', casualty: 'casualties', decision: 'decisions', role: 'duty' };

const given = new URLSearchParams(location.hash.slice(1));
const back = () => (given.has('board') && board[kindName] ? `/c/${id}/${board[kindName]}` : `/c/${id}`);

function choose(kinds) {
  const name = new Map(kinds.map((k) => [k.kind, k.name]));
  byId('forms').replaceChildren(...forms.map(([heading, entries]) => el('section', { class: 'formlist', 'aria-labelledby': `h-${heading}` },
    el('h2', { id: `h-${heading}` }, heading),
    el('ul', {}, ...entries.filter(([k]) => name.has(k)).map(([k, words]) => el('li', {},
      el('a', { class: 'tile', href: `/c/${id}/say/${k}` }, el('span', { class: 'name' }, name.get(k)), el('span', { class: 'hint' }, words))))))));
  byId('forms').append(el('section', { class: 'formlist' }, el('h2', {}, 'To everybody'), el('ul', {}, el('li', {},
    el('a', { class: 'tile', href: '/everybody' }, el('span', { class: 'name' }, 'Message to everybody'), el('span', { class: 'hint' }, 'Past all conversations, with a reason that stays'))))));
}

const at = (message) => time(message.sent, true).textContent;

/** pointers are the messages that this kind may point at, for its form. */
function pointers(b) {
  if (kindName === 'methane') return { supersedes: (b.methane ?? []).filter((m) => !m.replaced_by && !m.retracted).map((m) => ({ id: m.id, label: `The report of ${at(m)}` })) };
  if (kindName === 'decision') return { corrects: b.decisions.map((d) => ({ id: d.message.id, label: `Number ${d.number}: ${short(d.message).slice(0, 60)}` })) };
  return {};
}

/** values are what a form begins with: what the page that led here said, and what is nearly always so. */
function values(b, status, entries) {
  const out = {};
  for (const [name, value] of given) if (name !== 'board') out[name] = [...(out[name] ?? []), value];
  const now = new Date();
  if (kindName === 'decision') {
    out.at ??= [now.toISOString()];
    out.decider ??= [`person:${status.person}`];
  }
  if (kindName === 'role') {
    out.action ??= ['take'];
    if (out.action[0] === 'take') out.until ??= [new Date(now.getTime() + 12 * 3600000).toISOString()];
  }
  if (kindName === 'incident' && b.incident) {
    out.name = [b.incident.name];
    out.mode = [b.incident.mode];
  }
  if (kindName === 'methane' && entries.supersedes?.length) out.supersedes ??= [entries.supersedes[0].id];
  return out;
}

async function start() {
  const { kinds } = await call('GET', '/v1/kinds');
  const who = await addressees(path);
  exercise(Boolean(who.group.exercise));
  say(byId('where'), who.group.title);
  byId('up').href = kindName ? `/c/${id}/say` : `/c/${id}`;
  say(byId('up'), kindName ? 'All forms' : 'Back to the conversation');
  const kind = kinds.find((k) => k.kind === kindName);
  if (!kindName) return choose(kinds);
  if (!kind || kind.made) throw new Error(`There is no form called ${kindName}.`);
  say(byId('title'), kind.name);
  await form(kind, who);
  return undefined;
}

async function form(kind, who) {
  const status = await call('GET', '/v1/status');
  const entries = pointers(who.board);
  const begin = values(who.board, status, entries);
  const without = kindName === 'incident' && who.board.incident ? ['name', 'mode'] : [];
  const built = build(kind, { who, values: begin, entries, without });
  const to = kind.for ? several('f-to', who, 8, false) : null;
  const priority = byId('priority');
  priority.hidden = kindName === 'alert';
  byId('fields').replaceChildren(built.node);
  if (to) byId('fields').append(el('details', { class: 'field' }, el('summary', {}, 'Address it to a role or a person'), el('label', { for: 'f-to' }, 'For'), to.node));
  const node = byId('form');
  node.hidden = false;
  const pressed = () => (kindName === 'alert' ? 'stat' : node.elements.priority.value);
  const words = () => {
    byId('send').className = `main ${pressed()}`;
    say(byId('send'), { routine: 'Send', urgent: 'Send urgent', stat: kindName === 'alert' ? 'Raise the alert' : 'Send stat' }[pressed()]);
  };
  words();
  priority.addEventListener('change', words);
  node.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = byId('send');
    if (button.disabled) return;
    button.disabled = true;
    say(byId('error'), '');
    try {
      const fields = built.fields();
      for (const name of without) fields[name] = begin[name];
      const body = { kind: kindName, fields, priority: pressed() };
      if (to?.values().length) body.for = to.values();
      const sent = await call('POST', `${path}/messages`, body);
      if (sent.nobody?.length) told(sent.nobody);
      else location.assign(back());
    } catch (error) {
      if (!built.fail(error.message)) say(byId('error'), `Not sent. ${error.message}`);
      button.disabled = false;
    }
  });
  built.focus();
}

/** told stays on the page when what was said has no holder: that must not go by unread. */
function told(roles) {
  byId('form').hidden = true;
  byId('told').hidden = false;
  say(byId('told-words'), `It is sent. Nobody holds the role ${roles.join(', ')} now: whoever takes it will get it. Until then call somebody.`);
  byId('told-on').href = back();
  byId('told-title').focus();
}

ofConversation();
if (await known()) {
  strip();
  start().catch((error) => say(byId('error'), error.message));
} else {
  leave();
}
