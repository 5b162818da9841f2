// The event stream. A browser opens six connections to one origin, so only one tab holds the stream (whoever has the lock) and tells the
// others. Events hold types and ids; what they are about is fetched by whoever shows it.

import { headers, leave } from '/assets/session.js';

const bus = new BroadcastChannel('tocsin-events');
const listeners = new Set();
let last = '';

function hear(event) {
  if (event.stream) last = event.stream;
  if (event.type === 'lock' || event.type === 'wiped') {
    leave();
    return;
  }
  for (const listener of listeners) listener(event);
}

bus.addEventListener('message', ({ data }) => hear(data));

function tell(event) {
  hear(event);
  bus.postMessage(event);
}

/**
 * listen calls back with every event from now on. "ready" and "gap" mean that events may have been missed: load anew. "broken"
 * means that the node does not answer for now.
 */
export function listen(callback) {
  if (listeners.size === 0) navigator.locks.request('tocsin-events', hold);
  listeners.add(callback);
}

// A page that is left has its stream cut, which is no sign of a node in trouble.
let leaving = false;
window.addEventListener('pagehide', () => { leaving = true; });

/**
 * hold keeps the stream open for as long as this tab lives. A stream that ends is
 * opened again at once; a node that cannot be reached is said to be.
 */
async function hold() {
  for (let pause = 500; !leaving; ) {
    const answered = await stream();
    if (leaving) return;
    if (answered) pause = 500;
    else tell({ type: 'broken' });
    await new Promise((done) => setTimeout(done, answered ? 100 : pause));
    if (!answered) pause = Math.min(pause * 2, 10000);
  }
}

/** stream reads events until the connection ends, and returns whether any came. */
async function stream() {
  let answered = false;
  try {
    const more = last ? { 'Last-Event-ID': last } : {};
    const response = await fetch('/v1/events', { headers: headers(more), credentials: 'same-origin', cache: 'no-store' });
    if (response.status === 401) {
      leaving = true;
      leave();
      return false;
    }
    if (response.ok) await readAll(response.body, () => { answered = true; });
  } catch {
    // The node has gone or is restarting; hold says so when it cannot be reached again.
  }
  return answered;
}

/** readAll takes a stream apart: fields by line, an event at each empty line. */
async function readAll(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let id = '';
  let data = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('id: ')) id = line.slice(4);
      else if (line.startsWith('data: ')) data = line.slice(6);
      else if (line === '' && data !== '') {
        alive();
        tell({ ...JSON.parse(data), stream: id });
        data = '';
      }
    }
  }
}
