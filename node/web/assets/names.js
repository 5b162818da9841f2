// Names of people as their credentials have them, by address. A message names somebody by registration number; a page says who that is.

const names = new Map();

/** learn takes in the members of a conversation, or people. */
export function learn(members) {
  for (const m of members) {
    const person = m.person ?? (m.number ? `${m.org}/${m.regulator}/${m.number}` : '');
    if (person && m.name) names.set(`person:${person}`, m.name);
  }
}

/** nameOf is an address in words: a role, a name, or the number where the name is not known. */
export function nameOf(address) {
  if (address.startsWith('role:')) return address.slice(5).replaceAll('-', ' ');
  return names.get(address) ?? address.replace(/^person:/, '');
}

/** named puts names in the place of registration numbers in a text that the node wrote. */
export const named = (text) => text.replace(/[a-z0-9.-]+\/[a-z]+\/[A-Za-z0-9]+/g, (person) => names.get(`person:${person}`) ?? person);

/** isAddress tells a value that names somebody from any other. */
export const isAddress = (value) => /^(role:[a-z0-9-]+|person:[^/]+\/[^/]+\/[^/]+)$/.test(value);
