// Verifying somebody who stands in front of you: three codes, shown and scanned in turn, or sixty digits read out.

import { byId, el, say, svg } from '/assets/dom.js';
import { call, known, leave, look } from '/assets/session.js';
import { listen } from '/assets/events.js';
import { start as strip } from '/assets/strip.js';

const frameEvery = 300; // milliseconds between two looks at the camera
const longest = 1000; // pixels of a frame's longer side

let stream = null;
let watching = false;

const fail = (error) => say(byId('error'), error?.message ?? '');

/** draw shows a code from its rows of 1 (dark) and 0 (light), with the quiet zone that readers need. */
function draw(modules) {
  const quiet = 4;
  const size = modules.length + 2 * quiet;
  let path = '';
  modules.forEach((row, y) => [...row].forEach((m, x) => { if (m === '1') path += `M${x + quiet} ${y + quiet}h1v1h-1z`; }));
  byId('code').replaceChildren(svg('svg', { viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': 'The code to scan', 'shape-rendering': 'crispEdges' },
    svg('path', { d: `M0 0h${size}v${size}h-${size}z`, fill: '#fff' }), svg('path', { d: path, fill: '#000' })));
}

function done(person) {
  stopCamera();
  byId('codes').hidden = true;
  byId('by-digits').hidden = true;
  byId('done').hidden = false;
  say(byId('done-words'), `${person?.name ?? 'This person'} is verified in person. It stands with their name from now on.`);
  byId('done-title').focus();
}

/** step takes what the node says to do next. */
function step(meeting) {
  fail(null);
  say(byId('words'), meeting.words);
  byId('code').hidden = !meeting.show;
  if (meeting.show) draw(meeting.modules);
  if (meeting.show || meeting.done) stopCamera();
  if (meeting.done && !meeting.show) done(meeting.person);
  if (meeting.done && meeting.show) {
    say(byId('show'), 'The other screen says it is done');
    byId('show').onclick = () => done(meeting.person);
    byId('camera').hidden = true;
  }
}

async function take(text) {
  try {
    step(await call('POST', '/v1/people/verify/scan', { code: text }));
    return true;
  } catch (error) {
    fail(error);
    return false;
  }
}

/** shrink draws a picture small enough to be looked at quickly. */
async function shrink(source, width, height) {
  const k = Math.min(1, longest / Math.max(width, height));
  const canvas = el('canvas', { width: Math.round(width * k), height: Math.round(height * k) });
  canvas.getContext('2d').drawImage(source, 0, 0, canvas.width, canvas.height);
  return new Promise((ready) => canvas.toBlob(ready, 'image/jpeg', 0.85));
}

async function camera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 1280 } }, audio: false });
  } catch {
    fail({ message: 'There is no camera that this page may use. Choose a picture, or compare the digits.' });
    return;
  }
  fail(null);
  const video = byId('video');
  video.srcObject = stream;
  byId('scan').hidden = false;
  say(byId('camera'), 'Stop the camera');
  await video.play();
  watching = true;
  while (watching) {
    await new Promise((next) => setTimeout(next, frameEvery));
    if (!watching || video.videoWidth === 0) continue;
    try {
      const { texts } = await look(await shrink(video, video.videoWidth, video.videoHeight));
      if (watching && texts.length > 0) await take(texts[0]);
    } catch (error) {
      fail(error);
      stopCamera();
    }
  }
}

function stopCamera() {
  watching = false;
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  byId('video').srcObject = null;
  byId('scan').hidden = true;
  say(byId('camera'), 'Scan their code');
}

byId('show').onclick = async () => {
  try {
    stopCamera();
    step(await call('POST', '/v1/people/verify'));
  } catch (error) {
    fail(error);
  }
};

byId('camera').addEventListener('click', () => (watching ? stopCamera() : camera()));

byId('picture').addEventListener('change', async ({ target }) => {
  const file = target.files[0];
  if (!file) return;
  try {
    const picture = await createImageBitmap(file);
    const { texts } = await look(await shrink(picture, picture.width, picture.height));
    if (texts.length === 0) fail({ message: 'No code is to be seen in that picture. Take it straight on, near, and without glare.' });
    else await take(texts[0]);
  } catch (error) {
    fail(error.code ? error : { message: 'That file is no picture that this browser can read.' });
  }
  target.value = '';
});

let digits = null;

async function compare() {
  const log = byId('person').value;
  byId('digits').hidden = byId('agree').hidden = true;
  digits = null;
  if (log === '') return;
  try {
    digits = await call('GET', `/v1/people/digits?person=${encodeURIComponent(log)}`);
    byId('digits').replaceChildren(...digits.digits.split(' ').map((group) => el('span', {}, group)));
    byId('digits').hidden = byId('agree').hidden = false;
    fail(null);
  } catch (error) {
    fail(error);
  }
}

byId('person').addEventListener('change', compare);
byId('agree').addEventListener('click', async () => {
  try {
    done(await call('POST', '/v1/people/verify/digits', { person: byId('person').value, digits: digits.digits }));
  } catch (error) {
    fail(error);
  }
});

async function choices() {
  try {
    const { people } = await call('GET', '/v1/people');
    const chosen = byId('person').value || decodeURIComponent(location.hash.slice(1));
    const others = people.filter((p) => !p.self && !p.relay);
    byId('person').replaceChildren(el('option', { value: '' }, 'Choose somebody'),
      ...others.map((p) => el('option', { value: p.log, selected: p.log === chosen }, `${p.name}, ${[...(p.roles ?? []), p.org].join(', ')}`)));
    if (chosen && !digits) await compare();
  } catch (error) {
    fail(error);
  }
}

window.addEventListener('pagehide', stopCamera);

if (await known()) {
  strip();
  listen((event) => ['people', 'ready', 'gap'].includes(event.type) && choices());
  choices();
} else {
  leave();
}
