// EXERCISE on every page of an exercise: in a banner, and in the title of the window, which holds nothing else but the page's own name.

import { byId, say } from '/assets/dom.js';

const MARK = 'EXERCISE – ';
const plain = document.title;

/** exercise marks the page, or takes the mark off. on is true for a page of an exercise. */
export function exercise(on) {
  document.body.classList.toggle('exercising', on);
  document.title = on ? MARK + plain : plain;
  banner(on ? 'EXERCISE. Nothing on this page is real.' : '');
}

/** elsewhere says on a page of no conversation that exercises go on. */
export function elsewhere(count) {
  if (document.body.classList.contains('exercising') || document.body.dataset.conversation) return;
  banner(count > 0 ? `EXERCISE under way in ${count === 1 ? '1 conversation' : `${count} conversations`}. What is marked EXERCISE is not real.` : '');
}

function banner(words) {
  const node = byId('exercise');
  if (!node) return;
  say(node, words);
  node.hidden = words === '';
}

/** ofConversation says that this page belongs to one conversation, whatever goes on in others. */
export function ofConversation() {
  document.body.dataset.conversation = 'yes';
}
