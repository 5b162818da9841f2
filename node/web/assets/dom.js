// Building the page. Everything shown is made here from elements and text nodes: nothing is ever parsed as HTML.

/** el makes an element. props: class, attributes (true for an empty one, null to leave out), and on: {event: handler}. */
export function el(name, props = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (key === 'on') {
      for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    } else if (value === true) {
      node.setAttribute(key, '');
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(key, String(value));
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** svg makes an element of a picture, in the namespace of those in the shell. */
export function svg(name, attributes, ...children) {
  const node = document.createElementNS(document.querySelector('svg').namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** byId finds an element of the shell. */
export const byId = (id) => document.getElementById(id);

/**
 * say puts a text into an element, and touches it only when it differs, so that a screen reader says it once. A page that is being left has
 * no elements any more.
 */
export function say(node, text) {
  if (node && node.textContent !== text) node.textContent = text;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', hour12: false });
const day = new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long' });
const short = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'medium' });

const sameDay = (a, b) => a.toDateString() === b.toDateString();

/** time makes a <time>: the hour, with the date before it when it was not today and dated is asked for. */
export function time(iso, dated = false) {
  const at = new Date(iso);
  const text = dated && !sameDay(at, new Date()) ? `${short.format(at)}, ${clock.format(at)}` : clock.format(at);
  return el('time', { datetime: iso, title: full.format(at) }, text);
}

/** dayWords names the day of a time: Today, Yesterday, or its date. */
export function dayWords(iso) {
  const at = new Date(iso);
  const now = new Date();
  if (sameDay(at, now)) return 'Today';
  if (sameDay(at, new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1))) return 'Yesterday';
  return day.format(at);
}

/** join makes "A", "A and B", "A, B and C". */
export function join(names) {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`;
}

/** soon wraps an asynchronous function so that it never overlaps itself: calls while it runs make it run once more. */
export function soon(work) {
  let running = false;
  let again = false;
  return async function run() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      do {
        again = false;
        await work();
      } while (again);
    } finally {
      running = false;
    }
  };
}

/**
 * renew puts new nodes into a container that may have the keyboard in it: what has the same data-key keeps the focus, what was typed and
 * whether it was open.
 */
export function renew(container, ...nodes) {
  const keyed = () => [...container.querySelectorAll('[data-key]')];
  const key = container.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const kept = new Map(keyed().map((n) => [n.dataset.key, n.localName === 'details' ? n.open : n.value]));
  container.replaceChildren(...nodes.flat().filter(Boolean));
  for (const node of keyed()) {
    const was = kept.get(node.dataset.key);
    if (was === undefined) continue;
    if (node.localName === 'details') node.open = was;
    else if (['input', 'textarea', 'select'].includes(node.localName)) node.value = was;
  }
  if (key) keyed().find((n) => n.dataset.key === key)?.focus({ preventScroll: true });
}

/** ago says how long ago a time was, in the words of somebody in a hurry. */
export function ago(iso) {
  const minutes = Math.floor((Date.now() - new Date(iso)) / 60000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ago` : `${Math.floor(hours / 24)} days ago`;
}
