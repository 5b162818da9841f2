// Choosing whom something is for. One: a list with an own role at its end. Several: each choice is added to a list, in order.

import { el, say } from '/assets/dom.js';
import { roleName, roleOf } from '/assets/addressees.js';

const OTHER = 'other';

function options(who, only) {
  const group = (label, entries) => (entries.length ? el('optgroup', { label }, ...entries.map((e) => el('option', { value: e.address }, e.label))) : null);
  const roles = only !== 'people';
  return [
    roles ? group('On duty', who.duty) : null, group('People', who.people),
    roles ? group('Roles', who.roles) : null, roles ? el('option', { value: OTHER }, 'Another role …') : null,
  ].filter(Boolean);
}

/** chooser makes a list to choose from, and calls chosen with {address, label}. */
function chooser(id, who, only, empty, chosen) {
  const select = el('select', { id, 'aria-describedby': `${id}-error` }, el('option', { value: '' }, empty), ...options(who, only));
  const role = el('input', { id: `${id}-role`, type: 'text', autocomplete: 'off', maxlength: 48, placeholder: 'medical registrar' });
  const add = el('button', { type: 'button' }, 'Use this role');
  const own = el('div', { class: 'field own-role', hidden: true }, el('label', { for: `${id}-role` }, 'Name of the role'), role, add);
  const use = () => {
    const name = roleOf(role.value);
    if (name) chosen({ address: `role:${name}`, label: roleName(name) });
    else role.focus();
  };
  select.addEventListener('change', () => {
    own.hidden = select.value !== OTHER;
    if (!own.hidden) role.focus();
    else if (select.value) chosen({ address: select.value, label: select.selectedOptions[0].textContent });
  });
  add.addEventListener('click', use);
  role.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    use();
  });
  return { select, own };
}

/** one lets a person or a role be chosen. only: 'people'. It returns {node, values, set}. */
export function one(id, who, only) {
  let value = '';
  const { select, own } = chooser(id, who, only, 'Choose', (entry) => {
    value = entry.address;
    if (![...select.options].some((o) => o.value === value)) select.append(el('option', { value }, entry.label));
    select.value = value;
    own.hidden = true;
  });
  select.addEventListener('change', () => { if (select.value !== OTHER) value = select.value; });
  const set = (address) => {
    if (![...select.options].some((o) => o.value === address)) select.append(el('option', { value: address }, address.replace(/^role:/, '')));
    select.value = value = address;
  };
  return { node: el('div', { class: 'pick' }, select, own), values: () => (value ? [value] : []), set, focus: () => select.focus() };
}

/** several lets people and roles be chosen one after the other. numbered: their order counts. */
export function several(id, who, most, numbered) {
  const chosen = [];
  const list = el(numbered ? 'ol' : 'ul', { class: 'chosen' });
  const said = el('p', { class: 'unseen', role: 'status' });
  const { select, own } = chooser(id, who, '', numbered ? 'Add the next' : 'Add somebody', (entry) => {
    select.value = '';
    own.hidden = true;
    if (chosen.length >= most || chosen.some((c) => c.address === entry.address)) return;
    chosen.push(entry);
    say(said, `${entry.label} added`);
    draw();
  });
  function draw() {
    list.replaceChildren(...chosen.map((entry, i) => el('li', {}, el('span', {}, entry.label),
      el('button', { type: 'button', class: 'quiet', 'aria-label': `Take ${entry.label} out`, on: { click: () => { chosen.splice(i, 1); draw(); select.focus(); } } }, 'Take out'))));
    list.hidden = chosen.length === 0;
  }
  draw();
  const clear = () => { chosen.length = 0; draw(); };
  return { node: el('div', { class: 'pick' }, list, select, own, said), values: () => chosen.map((c) => c.address), clear, focus: () => select.focus() };
}
