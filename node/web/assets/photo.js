// A picture before it is sent: who agreed to it, what it is for, and what must not be seen. The black is burnt in by the node, in the bytes that
// leave this device; this page only says where.

import { byId, el, say } from '/assets/dom.js';

const STEP = 12; // pixels of the canvas that one press of an arrow key moves
const MOST = 64;
const WIDTH = 640; // of the canvas, at most

/** masks lets rectangles be drawn on a picture, with a finger, a mouse or the keyboard. */
function masks(bitmap) {
  const scale = Math.min(1, WIDTH / bitmap.width);
  const canvas = el('canvas', { class: 'masking', width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)), role: 'img', 'aria-label': 'The picture that will be sent, with what is blacked out' });
  const list = el('ul', { class: 'chosen', 'aria-label': 'Blacked out' });
  const boxes = [];
  let drag = null;
  const paint = () => {
    const c = canvas.getContext('2d');
    c.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    c.fillStyle = '#000';
    for (const b of drag ? [...boxes, drag] : boxes) c.fillRect(b.x, b.y, b.w, b.h);
  };
  const clamp = (b) => {
    b.w = Math.min(Math.max(b.w, 4), canvas.width);
    b.h = Math.min(Math.max(b.h, 4), canvas.height);
    b.x = Math.min(Math.max(b.x, 0), canvas.width - b.w);
    b.y = Math.min(Math.max(b.y, 0), canvas.height - b.h);
  };
  const keys = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
  function move(event, b) {
    const by = keys[event.key];
    if (!by) return;
    event.preventDefault();
    if (event.shiftKey) { b.w += by[0]; b.h += by[1]; } else { b.x += by[0]; b.y += by[1]; }
    clamp(b);
    paint();
  }
  function draw(focus) {
    list.replaceChildren(...boxes.map((b, i) => el('li', {},
      el('button', { type: 'button', class: 'quiet', 'aria-label': `Box ${i + 1}: arrows move it, with Shift they make it larger or smaller`, on: { keydown: (event) => move(event, b) } }, `Box ${i + 1}`),
      el('button', { type: 'button', class: 'quiet', 'aria-label': `Take box ${i + 1} away`, on: { click: () => { boxes.splice(i, 1); draw(); } } }, 'Take away'))));
    list.hidden = boxes.length === 0;
    paint();
    if (focus) list.lastElementChild?.querySelector('button').focus();
  }
  const at = (event) => {
    const r = canvas.getBoundingClientRect();
    return { x: (event.clientX - r.left) * canvas.width / r.width, y: (event.clientY - r.top) * canvas.height / r.height };
  };
  let from = null;
  canvas.addEventListener('pointerdown', (event) => {
    if (boxes.length >= MOST) return;
    from = at(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!from) return;
    const to = at(event);
    drag = { x: Math.min(from.x, to.x), y: Math.min(from.y, to.y), w: Math.abs(to.x - from.x), h: Math.abs(to.y - from.y) };
    paint();
  });
  const end = () => {
    if (drag && drag.w > 3 && drag.h > 3) {
      clamp(drag);
      boxes.push(drag);
    }
    from = drag = null;
    draw();
  };
  canvas.addEventListener('pointerup', end);
  canvas.addEventListener('pointercancel', end);
  const add = el('button', { type: 'button', on: { click: () => {
    if (boxes.length >= MOST) return;
    boxes.push({ x: canvas.width / 3, y: canvas.height / 3, w: canvas.width / 3, h: canvas.height / 3 });
    draw(true);
  } } }, 'Add a black box');
  draw();
  // Whole pixels of the picture itself, outwards, so that nothing at an edge is left.
  const regions = () => boxes.map((b) => {
    const [x, y] = [Math.floor(b.x / scale), Math.floor(b.y / scale)];
    return [x, y, Math.min(Math.ceil((b.x + b.w) / scale), bitmap.width) - x, Math.min(Math.ceil((b.y + b.h) / scale), bitmap.height) - y].join(',');
  });
  return { node: el('div', { class: 'masks' }, el('p', {}, 'Draw over what must not be seen: a face, a name, a bed number.'), canvas, list, el('div', { class: 'row' }, add)), regions };
}

const pill = (name, value, words) => el('label', { class: 'pill' }, el('input', { type: 'radio', name, value }), el('span', {}, words));

/**
 * ready asks what must be known of a picture before it may be sent, and resolves to the part of the query that says so, or to null where the
 * user thinks better of it. people: {address, label} of possible witnesses.
 */
export async function ready(file, people) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  const mask = bitmap && masks(bitmap);
  return new Promise((done) => {
    let answer = null;
    const error = el('p', { class: 'error', id: 'photo-error', role: 'alert' });
    const purpose = el('input', { id: 'photo-purpose', type: 'text', autocomplete: 'off', maxlength: 200, placeholder: 'Opinion of plastic surgery' });
    const witness = el('select', { id: 'photo-witness' }, el('option', { value: '' }, 'Choose'), ...people.map((p) => el('option', { value: p.address }, p.label)));
    const consent = el('div', { class: 'consent', hidden: true },
      el('fieldset', { class: 'field' }, el('legend', {}, 'Who agreed to it?'), el('div', { class: 'pills' }, pill('consent', 'patient', 'The patient'), pill('consent', 'guardian', 'A parent or guardian'), pill('consent', 'best-interests', 'Nobody could: best interests'))),
      el('div', { class: 'field' }, el('label', { for: 'photo-purpose' }, 'What is it for?'), purpose),
      el('div', { class: 'field' }, el('label', { for: 'photo-witness' }, 'Which second clinician was present?'), witness));
    const send = el('button', { class: 'main', type: 'submit' }, 'Send the picture');
    const cancel = el('button', { type: 'button' }, 'Do not send it');
    const form = el('form', { class: 'card', novalidate: true },
      el('h2', { id: 'photo-title' }, 'Before this picture goes'), mask ? mask.node : el('p', { class: 'hint' }, 'This browser cannot show the picture, so nothing can be blacked out.'),
      el('fieldset', { class: 'field' }, el('legend', {}, 'Is a patient in it?'), el('div', { class: 'pills' }, pill('shows', 'no-patient', 'No patient'), pill('shows', 'patient', 'A patient'))),
      consent, error, el('div', { class: 'row' }, send, cancel));
    const dialog = el('dialog', { class: 'again photo', 'aria-labelledby': 'photo-title' }, form);
    const fail = (message, field) => { say(error, message); field.focus(); };
    form.addEventListener('change', () => { consent.hidden = form.elements.shows.value !== 'patient'; });
    cancel.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => { bitmap?.close(); dialog.remove(); done(answer); });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const shows = form.elements.shows.value;
      const query = new URLSearchParams({ shows });
      if (!shows) return fail('Say whether a patient is in it.', form.querySelector('[name=shows]'));
      if (shows === 'patient') {
        if (!form.elements.consent.value) return fail('Say who agreed to it.', form.querySelector('[name=consent]'));
        if (purpose.value.trim() === '') return fail('Say what it is for.', purpose);
        if (witness.value === '') return fail('Say which second clinician was present.', witness);
        query.set('consent', form.elements.consent.value);
        query.set('purpose', purpose.value.trim());
        query.set('witness', witness.value);
      }
      for (const r of mask?.regions() ?? []) query.append('blackout', r);
      answer = query;
      dialog.close();
      return undefined;
    });
    byId('main').after(dialog);
    dialog.showModal();
  });
}
