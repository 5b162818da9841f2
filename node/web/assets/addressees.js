// Whom something can be addressed to: roles that are on duty, other roles, and the people of a conversation.

import { call } from '/assets/session.js';

const usual = ['medical-registrar', 'surgical-registrar', 'ed-consultant', 'anaesthetist', 'nurse-in-charge', 'bed-manager', 'incident-commander', 'loggist'];

/** roleName is a role as people read it. */
export const roleName = (role) => role.replaceAll('-', ' ');

/** roleOf makes the name of a role from what somebody typed. */
export const roleOf = (typed) => typed.trim().toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-+|-+$/g, '');

/** addressees lists {address, label} by heading: on duty, other roles, people. */
export async function addressees(path) {
  const [group, board] = await Promise.all([call('GET', path), call('GET', `${path}/board`)]);
  const duty = board.duties.map((d) => ({ address: `role:${d.role}`, label: `${d.name} (${d.holders.map((h) => h.from.name).join(', ')})` }));
  const held = new Set(duty.map((d) => d.address));
  const others = usual.map((r) => ({ address: `role:${r}`, label: roleName(r) })).filter((r) => !held.has(r.address));
  const seen = new Set();
  const people = [];
  for (const m of group.members) {
    if (!m.person || seen.has(m.person)) continue;
    seen.add(m.person);
    people.push({ address: `person:${m.person}`, label: [m.name, m.role].filter(Boolean).join(', ') });
  }
  return { duty, roles: others, people, board, group };
}
