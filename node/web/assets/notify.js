// Notifications of the system, for a page that is not in front. They say how urgent something is and whether it is an exercise: never who,
// what or where, because they stand on a locked screen and in the system's own store.

import { listen } from '/assets/events.js';

const words = { stat: 'A stat message has come.', urgent: 'An urgent message has come.', mine: 'A message for you has come.', '': 'A message has come.' };

/** allowed is granted, denied, default, or none where this browser has no notifications. */
export const allowed = () => ('Notification' in window ? Notification.permission : 'none');

/** ask has the browser ask. */
export const ask = () => Notification.requestPermission();

/** text is all that a notification says of an event. */
export function text(event) {
  const body = words[event.priority] ?? (event.for_me ? words.mine : words['']);
  return { title: event.exercise ? 'EXERCISE – Tocsin' : 'Tocsin', body: event.exercise ? `EXERCISE. ${body}` : body };
}

/** show puts one up. Those of one urgency take each other's place, also those of other tabs. */
export function show({ title, body }, urgent) {
  const n = new Notification(title, { body, tag: `tocsin-${body}`, icon: '/assets/icon.svg', requireInteraction: urgent });
  n.addEventListener('click', () => { window.focus(); n.close(); });
}

/** start shows a notification for messages that come while nobody looks at this page. */
export function start() {
  listen((event) => {
    if (event.type !== 'message' || document.visibilityState === 'visible' || allowed() !== 'granted') return;
    show(text(event), event.priority === 'stat');
  });
}
