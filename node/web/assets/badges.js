// Badges: short words that say how somebody came to be trusted, or that they no longer are. Never by colour alone.

import { el, time } from '/assets/dom.js';

/** words are those of an author's badge, as the node names it. */
export const words = {
  provisional: 'Provisional', sponsored: 'Vouched for by colleagues', registrar: 'Admitted by a registrar',
  grace: 'Credential ran out, counts during the incident', expired: 'Credential ran out', revoked: 'Revoked', wiped: 'Wiped',
};

const bad = new Set(['expired', 'revoked', 'wiped']);

/** badge is one badge. */
export function badge(kind, text, ...more) {
  return el('li', { class: `badge ${kind}` }, text, ...more);
}

/** kindOf says how loud a badge is. */
export const kindOf = (name) => (bad.has(name) ? 'bad' : 'doubt');

/** badges lists everything there is to say of a person's device. */
export function badges(p) {
  const s = p.standing;
  const until = (text) => (s.until ? [`${text} until `, time(s.until, true)] : [text]);
  const out = [];
  if (s.state === 'valid') out.push(badge('', 'Verified by their organisation'));
  if (s.state === 'provisional') out.push(badge('doubt', ...until('Provisional')));
  if (s.state === 'grace') out.push(badge('doubt', ...until('Ran out; counts during the incident')));
  if (s.state === 'expired') out.push(badge('bad', 'Credential ran out'));
  if (s.state === 'revoked') out.push(badge('bad', 'Revoked', ...(s.since ? [' ', time(s.since, true)] : [])));
  if (s.state === 'wiped' || p.wipe) out.push(badge('bad', p.wipe?.receipt ? 'Wiped, and it says so itself' : 'Ordered to wipe itself'));
  if (p.registrar) out.push(badge('doubt', 'Admitted by a registrar'));
  if (p.sponsored) out.push(badge('doubt', p.sponsored.kind === 'break-glass' ? 'Break-glass admission' : 'Own second device'));
  if (p.cloned) out.push(badge('bad', 'Somebody else wrote to their log; to be certified anew'));
  if (p.fork) out.push(badge('bad', 'Signed two entries at one place: copied, or it lies'));
  if (p.verified_at) out.push(badge('', 'Verified in person'));
  if (p.relay) out.push(badge('plain', 'Relay: carries, cannot read'));
  if (!p.self && !p.relay && !p.ready && s.state !== 'revoked' && s.state !== 'wiped') out.push(badge('plain', 'Not met yet: reads once they are'));
  return el('ul', { class: 'badges' }, ...out);
}
