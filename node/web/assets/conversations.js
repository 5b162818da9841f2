import { known, leave } from '/assets/session.js';
import { start as strip } from '/assets/strip.js';
import { start as list } from '/assets/list.js';

if (await known()) {
  strip();
  list();
} else {
  leave();
}
