// What every page that shows content begins with.

import { known, leave } from '/assets/session.js';
import { listen } from '/assets/events.js';
import { start as strip } from '/assets/strip.js';

/** begin fills the bar, calls load now and after each event whose type is named, or leaves where this browser is not let in. */
export async function begin(types, load) {
  if (!(await known())) {
    leave();
    return;
  }
  const about = new Set([...types, 'ready', 'gap']);
  strip();
  listen((event) => about.has(event.type) && load(event));
  load();
}

/** here are the parts of the address of a page of a conversation: /c/{id}/{what}/{more}. */
export function here() {
  const [, , id, what = '', more = ''] = location.pathname.split('/');
  return { id, what, more, path: `/v1/groups/${id}` };
}
