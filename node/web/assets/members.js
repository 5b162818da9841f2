// The members of a conversation: who they are, and for who runs it, taking somebody out.

import { byId, el, renew, say } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { kindOf, words as badgeWords } from '/assets/badges.js';
import { question } from '/assets/dialog.js';

function badge(m) {
  const words = m.badge ? badgeWords[m.badge] ?? m.badge : m.verified ? 'Verified' : 'Not verified';
  return el('span', { class: m.badge ? `badge ${kindOf(m.badge)}` : m.verified ? 'badge' : 'badge doubt' }, words);
}

async function remove(path, m, done) {
  const sure = await question({ title: `Take ${m.name || 'this device'} out?`, words: 'They read nothing that is written after this. What they have, they keep.', action: 'Take them out', alarm: true });
  if (sure === null) return;
  try {
    await call('POST', `${path}/members/remove`, { member: m.log });
    await done();
  } catch (error) {
    say(byId('error'), error.message);
  }
}

async function leaveIt(path) {
  const sure = await question({ title: 'Leave this conversation?', words: 'You read nothing that is written after this. What you have, you keep.', action: 'Leave it' });
  if (sure === null) return;
  try {
    await call('POST', `${path}/leave`);
    location.assign('/');
  } catch (error) {
    say(byId('error'), error.message);
  }
}

/** members fills the list of a group; done is called when somebody was taken out. */
export async function members(path, group, done) {
  const [roster, status] = group.kind === 'broadcast' ? [[], null] : await Promise.all([call('GET', `${path}/roster`).then((r) => r.members), call('GET', '/v1/status')]);
  const runs = roster.some((m) => m.role === 'admin' && m.log === status.log);
  const admins = new Set(roster.filter((m) => m.role === 'admin').map((m) => m.log));
  const rows = group.members.map((m) => el('li', {},
    el('span', { class: 'name' }, m.name || 'Unknown'),
    el('span', { class: 'role' }, [m.role, m.org, admins.has(m.log) ? 'runs this conversation' : ''].filter(Boolean).join(' · ')), badge(m),
    runs && m.log !== status.log && group.kind !== 'direct'
      ? el('button', { type: 'button', class: 'quiet out', 'data-key': `out-${m.log}`, on: { click: () => remove(path, m, done) } }, 'Take out', el('span', { class: 'unseen' }, ` ${m.name}`)) : null));
  const bye = status && group.kind !== 'direct' ? el('li', {}, el('button', { type: 'button', class: 'quiet', 'data-key': 'leave', on: { click: () => leaveIt(path) } }, 'Leave this conversation')) : null;
  renew(byId('members'), ...rows, bye);
}
