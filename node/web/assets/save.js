// Saving what the node writes as a file.

import { el } from '/assets/dom.js';
import { headers, Refused } from '/assets/session.js';

/** save asks for a file with a token of a re-authentication, and hands it to the browser under a name. A file that did not come whole is not saved. */
export async function save(path, token, name) {
  let bytes;
  try {
    const response = await fetch(path, { method: 'POST', headers: headers({ 'Tocsin-Reauth': token }), credentials: 'same-origin', cache: 'no-store' });
    if (!response.ok) throw new Refused(response.status, (await response.json().catch(() => ({}))).error);
    bytes = await response.blob(); // fails where the node ended it in the middle
  } catch (error) {
    throw error instanceof Refused ? error : new Refused(0);
  }
  const address = URL.createObjectURL(bytes);
  el('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}
