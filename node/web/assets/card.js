// What a message says, on every page that shows one: a text as it is, a form field by field.

import { el, time } from '/assets/dom.js';
import { attachment } from '/assets/attach.js';
import { isAddress, nameOf } from '/assets/names.js';

/** triage is a category with its words; its colour never stands alone. */
export const triage = (value, words) => el('span', { class: `triage-mark ${value}` }, words);

/** mark is the word EXERCISE, where something belongs to one. */
export const mark = (exercise) => (exercise ? el('span', { class: 'flag exercise-flag' }, 'Exercise') : null);

/** flag is the priority in a word, nothing for routine. */
export const flag = (priority) => (priority === 'routine' || !priority ? null : el('span', { class: `flag ${priority}` }, priority === 'stat' ? 'Stat' : 'Urgent'));

/** link leads to a message of a conversation. */
export const link = (group, id, words) => el('a', { class: 'inline', href: `/c/${group}#m-${id}` }, words);

function value(message, field) {
  if (field.input === 'entry') return link(message.group, field.values[0], 'an earlier message');
  if (field.input === 'entries') return `${field.values.length} messages`;
  if (field.name === 'triage') return triage(field.values[0], field.words);
  if (field.values.length > 1) return el('ul', { class: 'values' }, ...field.values.map((v) => el('li', {}, isAddress(v) ? nameOf(v) : v)));
  return words(field);
}

/** words is a field as people read it, with names for registration numbers and this reader's own clock. */
function words(field) {
  if (field.input === 'time') return time(field.values[0], true).textContent;
  return field.values.every(isAddress) ? field.values.map(nameOf).join(', ') : field.words;
}

/** forWhom says whom a message is addressed to. */
export function forWhom(message) {
  if (!message.for?.length) return null;
  return el('p', { class: message.for_me ? 'for me' : 'for' }, ...message.for.map((to, i) => {
    const role = to.address.startsWith('role:');
    const holders = (to.holders ?? []).map((h) => h.name).join(', ');
    const whom = `${i === 0 ? 'For' : ', for'} ${role ? 'the ' : ''}${role ? to.words : nameOf(to.address)}`;
    if (to.nobody) return el('span', { class: 'nobody' }, `${whom}: nobody holds this role now`);
    return role && holders ? `${whom} (${holders})` : whom;
  }));
}

/** gone says what became of a message since: withdrawn, or brought up to date. */
export function gone(message) {
  if (message.retracted) return el('p', { class: 'gone' }, `Withdrawn by its author: ${message.retracted}`);
  if (message.replaced_by) {
    const words = message.kind === 'decision' ? 'A later entry corrects this one' : 'A later report brings this up to date';
    return el('p', { class: 'gone' }, link(message.group, message.replaced_by, words));
  }
  return null;
}

// Steps of something that stands on a board: one line will do.
const brief = new Set(['role', 'task-update', 'incident', 'call-out-close', 'alert-cancel', 'escalation', 'retract']);

function line(message) {
  const parts = message.fields.filter((f) => f.input !== 'entry' && f.input !== 'statement').map(words);
  const of = message.fields.find((f) => f.input === 'entry');
  return el('p', { class: 'text', dir: 'auto' }, el('strong', {}, message.kind_name), `: ${parts.join(' · ')} `, of ? link(message.group, of.values[0], 'Show what it is about') : null);
}

/** content is what a message says. */
export function content(message) {
  const out = [];
  if (message.attachment) out.push(attachment(message));
  else if (brief.has(message.kind) && message.fields?.length) out.push(line(message));
  else if (message.fields?.length) {
    out.push(el('p', { class: 'kindname' }, message.kind_name), el('dl', { class: 'said' }, ...message.fields.flatMap((f) => [el('dt', {}, f.label), el('dd', { dir: 'auto' }, value(message, f))])));
  } else out.push(el('p', { class: 'text', dir: 'auto' }, message.text));
  const past = message.retracted || message.replaced_by;
  return el('div', { class: past ? `content past${message.retracted ? ' withdrawn' : ''}` : 'content' }, ...out);
}

/** short is a message in one line, for where there is no room. */
export function short(message) {
  if (!message.fields?.length) return message.text;
  return `${message.kind_name}: ${message.fields.filter((f) => f.input !== 'entry').map(words).join(' · ')}`;
}

/** fieldOf is what a message says in one field, in the words of people. */
export function fieldOf(message, name) {
  const field = message.fields?.find((f) => f.name === name);
  return field ? words(field) : '';
}
