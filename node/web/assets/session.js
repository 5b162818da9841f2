// Calls to the node. A page is let in by a cookie, which the browser sends, and a token, which this module keeps in the session
// storage of this tab. A new tab asks the other tabs of this origin for it; a page of another port is another origin and hears nothing.

const KEY = 'tocsin-token';
const BACK = 'tocsin-back';
const tabs = new BroadcastChannel('tocsin-session');

const read = () => sessionStorage.getItem(KEY);

tabs.addEventListener('message', ({ data }) => {
  if (data.ask && read()) tabs.postMessage({ token: read() });
  if (data.token && !read()) sessionStorage.setItem(KEY, data.token);
});

/** Refused is an error that the node answered with: code for programs, message for people. */
export class Refused extends Error {
  constructor(status, { code, message, hint } = {}) {
    super(message ? sentence(message) + (hint ? ' ' + sentence(hint) : '') : 'The node does not answer. Is it still running?');
    this.status = status;
    this.code = code ?? 'no_answer';
  }
}

function sentence(text) {
  const plain = text.replaceAll('`', '').trim();
  const upper = plain.charAt(0).toUpperCase() + plain.slice(1);
  return /[.!?]$/.test(upper) ? upper : upper + '.';
}

/** keep stores the token of a new session. */
export function keep(token) {
  sessionStorage.setItem(KEY, token);
}

/** known tells whether this tab has a token, after giving other tabs a moment to hand theirs over. */
export async function known() {
  if (read()) return true;
  await new Promise((done) => {
    const give = setTimeout(done, 250);
    tabs.addEventListener('message', ({ data }) => {
      if (data.token) {
        clearTimeout(give);
        done();
      }
    });
    tabs.postMessage({ ask: true });
  });
  return read() !== null;
}

/** headers are what a request must carry beside the cookie. */
export function headers(more = {}) {
  return { 'Tocsin-Token': read() ?? '', ...more };
}

/** leave clears the page and goes to the unlock page, which comes back here afterwards. */
export function leave() {
  document.body.replaceChildren();
  if (location.pathname !== '/unlock') sessionStorage.setItem(BACK, location.pathname);
  location.replace('/unlock');
}

/** back is where to go once let in. */
export function back() {
  const path = sessionStorage.getItem(BACK) ?? '/';
  sessionStorage.removeItem(BACK);
  return path.startsWith('/') && !path.startsWith('//') ? path : '/';
}

/** ask sends one request and returns the answer; it throws Refused. */
export async function ask(method, path, body) {
  const init = { method, headers: headers(), credentials: 'same-origin', cache: 'no-store' };
  if (body !== undefined) {
    init.headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new Refused(0);
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const answer = await response.json().catch(() => ({}));
  throw new Refused(response.status, answer.error);
}

/** call is ask for a page that shows content: when this browser is no longer let in, or the device is locked, it leaves. */
export async function call(method, path, body) {
  try {
    return await ask(method, path, body);
  } catch (error) {
    if (error.code === 'unauthorised') sessionStorage.removeItem(KEY);
    if (error.code === 'unauthorised' || error.code === 'locked') leave();
    throw error;
  }
}
