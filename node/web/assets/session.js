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
  constructor(status, { code, message, hint, retry_after: wait, attempts_left: left } = {}) {
    super(message ? sentence(message) + (hint ? ' ' + sentence(hint) : '') : 'The node does not answer. Is it still running?');
    this.status = status;
    this.code = code ?? 'no_answer';
    this.wait = wait ?? 0; // seconds to wait before the next try
    this.left = left; // tries left, where there is a number of them
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

/** ask sends one request and returns the answer; it throws Refused. token is that of a re-authentication, where one is needed. */
export async function ask(method, path, body, token) {
  const init = { method, headers: headers(token ? { 'Tocsin-Reauth': token } : {}), credentials: 'same-origin', cache: 'no-store' };
  if (body instanceof Blob) {
    init.headers['Content-Type'] = body.type;
    init.body = body;
  } else if (body !== undefined) {
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

/** call is ask for a page that shows content: when this browser is no longer let in, or the device is locked or wiped, it leaves. */
export async function call(method, path, body, token) {
  try {
    return await ask(method, path, body, token);
  } catch (error) {
    if (error.code === 'unauthorised') sessionStorage.removeItem(KEY);
    if (['unauthorised', 'locked', 'wiped'].includes(error.code)) leave();
    throw error;
  }
}

/** file gets a file of the node as bytes. They are for saving, or for a picture: never for a page. */
export async function file(path) {
  const response = await fetch(path, { headers: headers(), credentials: 'same-origin', cache: 'no-store' }).catch(() => {
    throw new Refused(0);
  });
  if (response.ok) return response.blob();
  const answer = await response.json().catch(() => ({}));
  throw new Refused(response.status, answer.error);
}

/** look has the node look for QR codes in a picture: browsers on Linux cannot. */
export const look = (picture) => call('POST', '/v1/qr/read', picture);
