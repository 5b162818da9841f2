// Attachments in a conversation: what a file is and how much of it is here, its small picture, saving it, and sending one.

import { byId, el, say } from '/assets/dom.js';
import { call, file } from '/assets/session.js';
import { nameOf } from '/assets/names.js';
import { ready } from '/assets/photo.js';

const LIMIT = 64 * 1024 * 1024;
const pictures = new Map(); // message id -> address of its thumbnail in this page

const agreed = { patient: 'The patient agreed', guardian: 'A parent or guardian agreed', 'best-interests': 'Taken in their best interests: nobody could agree' };

/** shown is what was noted of a picture of a patient. */
const shown = (a) => `A patient is in it. ${agreed[a.consent] ?? a.consent_words}, asked by ${nameOf(a.asked_by)} with ${nameOf(a.witness)} present. For: ${a.purpose}.`;

/** attachment makes the part of a message that stands for its file. */
export function attachment(message) {
  const a = message.attachment;
  const node = el('div', { class: 'attachment' },
    el('p', { class: 'filename', dir: 'auto' }, a.name),
    el('p', { class: 'held' }),
    a.shows === 'patient' ? el('p', { class: 'held', dir: 'auto' }, shown(a)) : null,
    a.blackout ? el('p', { class: 'held' }, a.blackout === 1 ? '1 part is blacked out.' : `${a.blackout} parts are blacked out.`) : null,
    el('p', { class: 'doubt', role: 'alert' }),
    el('button', { class: 'quiet save', type: 'button' }));
  node.querySelector('.save').addEventListener('click', () => act(node, message.id));
  refresh(node, message);
  return node;
}

/** refresh shows how much of the file of a message is here now. */
export function refresh(within, message) {
  const node = within.matches('.attachment') ? within : within.querySelector('.attachment');
  const held = message.attachment;
  node.dataset.state = held.state;
  say(node.querySelector('.held'), `${held.size_words}. ${held.state_words}.`);
  const button = node.querySelector('.save');
  button.hidden = held.state === 'fetching';
  say(button, held.state === 'here' ? 'Save' : 'Fetch');
  button.setAttribute('aria-label', `${held.state === 'here' ? 'Save' : 'Fetch'} ${held.name}`);
  if (held.thumb && !node.querySelector('img')) picture(node, message);
}

async function picture(node, message) {
  try {
    if (!pictures.has(message.id)) pictures.set(message.id, URL.createObjectURL(await file(`/v1/attachments/${message.id}/thumb`)));
    if (node.querySelector('img')) return;
    node.prepend(el('img', { src: pictures.get(message.id), alt: `Small picture of ${message.attachment.name}` }));
  } catch (error) {
    say(node.querySelector('.doubt'), `The small picture cannot be shown. ${error.message}`);
  }
}

async function act(node, id) {
  const button = node.querySelector('.save');
  button.disabled = true;
  say(node.querySelector('.doubt'), '');
  try {
    if (node.dataset.state !== 'here') {
      await call('POST', `/v1/attachments/${id}/fetch`);
      return;
    }
    const address = URL.createObjectURL(await file(`/v1/attachments/${id}/content`));
    const link = el('a', { href: address, download: node.querySelector('.filename').textContent });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  } catch (error) {
    say(node.querySelector('.doubt'), error.message);
  } finally {
    button.disabled = false;
  }
}

/**
 * sender lets the composer send files. words returns what goes with one, its priority and whom it is for; witnesses who may have been present
 * when a patient was photographed; sent is called after it.
 */
export function sender(path, words, witnesses, sent) {
  const input = byId('file');
  byId('attach').addEventListener('click', () => input.click());
  input.addEventListener('change', async () => {
    const chosen = input.files[0];
    if (!chosen) return;
    const error = byId('send-error');
    const { caption, priority } = words();
    input.disabled = true;
    say(byId('attaching'), `Sending ${chosen.name} …`);
    try {
      if (chosen.size === 0) throw new Error('It is empty.');
      if (chosen.size > LIMIT) throw new Error('It is larger than 64 MiB.');
      if (new TextEncoder().encode(caption).length > 1000) throw new Error('The words beside it are too long: send them as a message.');
      // What the browser takes for a picture or a film; what it does not, the node does, and refuses it without these answers.
      const asked = /^(image|video)\//.test(chosen.type) ? await ready(chosen, await witnesses()) : new URLSearchParams();
      if (asked === null) return;
      const query = new URLSearchParams([['name', chosen.name], ['caption', caption], ['priority', priority], ...asked]);
      await call('POST', `${path}/attachments?${query}`, new Blob([chosen], { type: 'application/octet-stream' }));
      say(error, '');
      sent();
    } catch (refused) {
      say(error, `${chosen.name} was not sent. ${refused.message}`);
    } finally {
      input.value = '';
      input.disabled = false;
      say(byId('attaching'), '');
    }
  });
}
