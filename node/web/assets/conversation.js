// One conversation: its messages as they come, and the composer.

import { byId, dayWords, el, join, say, soon, time } from '/assets/dom.js';
import { call, known, leave } from '/assets/session.js';
import { listen } from '/assets/events.js';
import { start as strip } from '/assets/strip.js';
import { start as list } from '/assets/list.js';
import { kindOf, words as badgeWords } from '/assets/badges.js';
import { members } from '/assets/members.js';
import { refresh, sender } from '/assets/attach.js';
import { content, flag, forWhom, gone, mark, short } from '/assets/card.js';
import { buttons, leads } from '/assets/acts.js';
import { exercise, ofConversation } from '/assets/exercise.js';
import { addressees } from '/assets/addressees.js';
import { several } from '/assets/pick.js';
import { learn } from '/assets/names.js';
import { watch } from '/assets/draft.js';

const id = location.pathname.split('/').pop();
const path = `/v1/groups/${id}`;
const page = 100;
const kinds = { incident: 'Incident', team: 'Team', direct: 'Direct', broadcast: 'To everybody' };

const messages = byId('messages');
const form = byId('composer');
const text = byId('text');

let first = -page; // position of the first message shown, once known; negative means the last so many
let shown = new Map(); // message id -> {message, node}
let marked = new Set(); // ids that were reported as read
let newFrom = null; // id of the first message that was unread when the page opened
let replyTo = null;

const atEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 120;
const toEnd = () => window.scrollTo(0, document.documentElement.scrollHeight);
const who = (m) => (m.own ? 'You' : m.from.name || 'Unknown');

function quote(message) {
  if (!message.reply_to) return null;
  const answered = shown.get(message.reply_to)?.message;
  // Everything from the first message on is loaded: what is not there has not come yet.
  const words = answered ? `${who(answered)}: ${short(answered)}` : first === 0 ? 'a message that is still on its way' : 'an earlier message';
  return el('p', { class: answered || first !== 0 ? 'quote' : 'quote pending', dir: 'auto' }, el('span', { class: 'unseen' }, 'In answer to '), words);
}

function doubtsOf(message) {
  const doubts = [];
  if (!message.from.verified) doubts.push('Sender not verified');
  if (!message.provable) doubts.push('Cannot be proved');
  if (message.removed) doubts.push('Written after they were removed');
  if (message.after_closing) doubts.push('Their device was restored without this, or a copy of it wrote this');
  if (message.forked) doubts.push('Their device signed something else at the same place of its log, or before: it was copied, or it lies');
  if (message.handed_over) doubts.push(`Handed over by ${message.handed_over}`);
  return doubts;
}

function build(message, follows) {
  const doubts = doubtsOf(message);
  const role = [message.from.role, message.from.org].filter(Boolean).join(' · ');
  return el('li', { class: ['message', message.own ? 'own' : '', message.priority, follows ? 'follows' : ''].join(' '), 'data-id': message.id, id: `m-${message.id}`, tabindex: '-1' },
    el('div', { class: 'from' },
      el('span', { class: 'name' }, who(message)),
      message.own || !role ? null : el('span', { class: 'role' }, role),
      message.from.badge ? el('span', { class: `badge ${kindOf(message.from.badge)}` }, badgeWords[message.from.badge] ?? message.from.badge) : null),
    mark(message.exercise), flag(message.priority),
    message.broadcast ? el('p', { class: 'doubt', dir: 'auto' }, `To everybody: ${message.reason}`) : null,
    forWhom(message), quote(message), gone(message), content(message),
    message.attachment?.caption ? el('p', { class: 'text', dir: 'auto' }, message.attachment.caption) : null,
    leads(message),
    doubts.length ? el('p', { class: 'doubt' }, `${doubts.join('. ')}.`) : null,
    el('div', { class: 'end' },
      time(message.sent),
      message.own ? el('span', { class: 'state' }, message.state_words) : null,
      ...buttons(message, path, who(message), reply, load)));
}

/** stands is what of a message changes after it was said; when it does, it is drawn anew. */
const stands = (m) => [m.retracted, m.replaced_by, m.removed, m.forked, m.exercise, JSON.stringify(m.for ?? null), m.reply_to && first === 0 && shown.has(m.reply_to)].join('|');

/** draw puts the messages into the list: what stands there already is kept, so that reading and focus are not disturbed. */
function draw(all) {
  const before = shown;
  shown = new Map();
  const nodes = [];
  let previous = null;
  for (const message of all) {
    if (!previous || dayWords(previous.sent) !== dayWords(message.sent)) {
      nodes.push(el('li', { class: 'day' }, dayWords(message.sent)));
      previous = null;
    }
    if (message.id === newFrom) {
      nodes.push(el('li', { class: 'day fresh' }, 'New messages'));
      previous = null;
    }
    const follows = previous !== null && previous.from.log === message.from.log && new Date(message.sent) - new Date(previous.sent) < 300000;
    const old = before.get(message.id);
    let node = old?.node;
    shown.set(message.id, { message, node, follows });
    shown.get(message.id).stands = stands(message);
    if (!old || old.follows !== follows || old.stands !== stands(message)) {
      node = build(message, follows);
      shown.get(message.id).node = node;
    } else if (message.own) {
      say(node.querySelector('.state'), message.state_words);
    }
    if (message.attachment && node === old?.node) refresh(node, message);
    nodes.push(node);
    previous = message;
  }
  place(nodes);
  return all.filter((message) => !before.has(message.id));
}

/** place makes the list hold exactly these nodes, moving none that stands right. */
function place(nodes) {
  let at = messages.firstChild;
  for (const node of nodes) {
    if (at === node) {
      at = at.nextSibling;
    } else {
      messages.insertBefore(node, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** fetchAll gets every message from position first to the end. */
async function fetchAll() {
  const all = [];
  for (let after = first; ;) {
    const part = await call('GET', `${path}/messages?after=${after}&limit=500`);
    if (all.length === 0) first = part.first;
    all.push(...part.messages);
    after = part.first + part.messages.length;
    if (part.messages.length === 0 || after >= part.total) return all;
  }
}

async function heading() {
  const group = await call('GET', path);
  say(byId('title'), group.title);
  learn(group.members);
  exercise(Boolean(group.exercise));
  // To everybody one speaks on a page of its own, which asks for the reason.
  byId('composer').hidden = group.kind === 'broadcast';
  byId('boards').hidden = group.kind === 'broadcast';
  const devices = group.members.length === 1 ? '1 device' : `${group.members.length} devices`;
  say(byId('about'), `${kinds[group.kind] ?? group.kind} · ${devices}`);
  await members(path, group, loadHeading);
}

async function markRead(all) {
  if (document.visibilityState !== 'visible') return;
  const unread = all.filter((m) => m.unread && !marked.has(m.id));
  if (unread.length === 0) return;
  for (const m of unread) marked.add(m.id);
  await call('POST', `${path}/read`);
}

let opened = false;

/** jump goes to the message that the address names, fetching what is earlier until it is there. */
async function jump() {
  const wanted = location.hash.startsWith('#m-') ? location.hash.slice(3) : '';
  if (!wanted) return;
  while (!shown.has(wanted) && first > 0) {
    first = Math.max(0, first - 5 * page);
    draw(await fetchAll());
  }
  history.replaceState(null, '', location.pathname);
  byId('earlier').hidden = first === 0;
  const node = shown.get(wanted)?.node;
  if (!node) {
    say(byId('error'), 'This message is not on this device, or not yet.');
    return;
  }
  node.classList.add('wanted');
  node.scrollIntoView({ block: 'center' });
  node.focus({ preventScroll: true });
}
window.addEventListener('hashchange', jump);

const load = soon(async () => {
  try {
    const stay = opened && !atEnd();
    const all = await fetchAll();
    if (!opened) newFrom = all.find((m) => m.unread)?.id ?? null;
    const added = draw(all);
    byId('earlier').hidden = first === 0;
    byId('empty').hidden = all.length > 0;
    say(byId('error'), '');
    const others = added.filter((m) => !m.own);
    if (!stay) toEnd();
    else if (others.length > 0) byId('jump').hidden = false;
    if (opened && others.length > 0) {
      const worst = others.find((m) => m.priority !== 'routine');
      say(byId('news'), `${worst ? `${worst.priority === 'stat' ? 'Stat' : 'Urgent'} message` : 'New message'} from ${join([...new Set(others.map(who))])}`);
    }
    opened = true;
    await markRead(all);
    await jump();
  } catch (error) {
    say(byId('error'), error.message);
  }
});

const loadHeading = soon(async () => {
  try {
    await heading();
  } catch (error) {
    say(byId('error'), error.message);
  }
});

function reply(message) {
  replyTo = message;
  byId('replying').hidden = message === null;
  if (message) say(byId('replying-to'), `Reply to ${who(message)}: ${short(message).slice(0, 80)}`);
  text.focus();
}

async function send() {
  const body = text.value;
  if (body.trim() === '') {
    say(byId('send-error'), 'Write something first.');
    text.focus();
    return;
  }
  const button = byId('send');
  if (button.disabled) return;
  button.disabled = true;
  say(byId('send-error'), '');
  try {
    const to = toWhom?.values() ?? [];
    const sent = await call('POST', `${path}/messages`, { text: body, priority: form.elements.priority.value, reply_to: replyTo?.id ?? '', ...(to.length ? { for: to } : {}) });
    say(byId('nobody'), sent.nobody?.length ? `Nobody holds the role ${join(sent.nobody)} now. Whoever takes it will get this; until then call somebody.` : '');
    text.value = '';
    draft.clear();
    toWhom?.clear();
    byId('to').open = false;
    form.elements.priority.value = 'routine';
    form.dispatchEvent(new Event('change'));
    newFrom = null;
    reply(null);
    toEnd();
  } catch (error) {
    say(byId('send-error'), `Not sent. ${error.message}`);
  } finally {
    button.disabled = false;
    text.focus();
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  send();
});

// What is said with one press too many must be hard to say: stat and urgent are written on the button.
form.addEventListener('change', () => {
  const priority = form.elements.priority.value;
  byId('send').className = `main ${priority}`;
  say(byId('send'), { routine: 'Send', urgent: 'Send urgent', stat: 'Send stat' }[priority]);
});

text.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    send();
  }
  if (event.key === 'Escape' && replyTo) reply(null);
});

byId('reply-cancel').addEventListener('click', () => reply(null));
byId('jump').addEventListener('click', () => {
  byId('jump').hidden = true;
  toEnd();
});
byId('earlier').addEventListener('click', async () => {
  const height = document.documentElement.scrollHeight;
  first = Math.max(0, first - page);
  await load();
  window.scrollBy(0, document.documentElement.scrollHeight - height);
});
let end = true; // the end of the conversation is in view, and stays so when a picture or a notice takes more room
window.addEventListener('scroll', () => {
  end = atEnd();
  if (end) byId('jump').hidden = true;
  // Who reads further up needs the room. It is given while scrolling only: what moved under a finger would be missed by it.
  else if (!form.contains(document.activeElement) && text.value === '') form.classList.remove('inuse');
}, { passive: true });
form.addEventListener('focusin', () => form.classList.add('inuse'));
const grown = new ResizeObserver(() => end && opened && toEnd());
grown.observe(messages);
grown.observe(byId('bottom'));
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && load());

// Whom a message is for is asked for when somebody wants to say it.
let toWhom = null;
byId('to').addEventListener('toggle', async () => {
  if (!byId('to').open || toWhom) return;
  try {
    toWhom = several('to-whom', await addressees(path), 8, false);
    byId('to-pick').replaceChildren(el('label', { for: 'to-whom' }, 'For'), toWhom.node);
  } catch (error) {
    say(byId('send-error'), error.message);
  }
});

const draft = watch(text);

/** witnesses are who may have been there when a patient was photographed: everybody known but this reader. */
async function witnesses() {
  const [{ people }, status] = await Promise.all([call('GET', '/v1/people'), call('GET', '/v1/status')]);
  const out = new Map();
  for (const p of people) {
    const person = `${p.org}/${p.regulator}/${p.number}`;
    if (!p.relay && person !== status.person) out.set(person, { address: `person:${person}`, label: [p.name, p.org].join(', ') });
  }
  return [...out.values()];
}

sender(path, () => ({ caption: text.value.trim(), priority: form.elements.priority.value }), witnesses, () => {
  text.value = '';
  draft.clear();
  newFrom = null;
  toEnd();
});

byId('boards').href = `/c/${id}/boards`;
byId('forms').href = `/c/${id}/say`;
ofConversation();
if (await known()) {
  strip();
  list(id);
  listen((event) => {
    const ours = !event.group || event.group === id;
    if (['message', 'delivery', 'erased', 'attachment'].includes(event.type) && ours) load();
    if (['ready', 'gap'].includes(event.type)) load();
    if (['group', 'people', 'trust', 'ready', 'gap'].includes(event.type)) loadHeading();
  });
  // Names first: what is drawn says who is meant.
  await loadHeading();
  load();
} else {
  leave();
}
