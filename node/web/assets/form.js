// The form of a kind of message, made from the field table that the node gives.

import { el, say } from '/assets/dom.js';
import { one, several } from '/assets/pick.js';
import { roleOf } from '/assets/addressees.js';
import { watch } from '/assets/draft.js';

// Fields that name people or roles: in the table they are lines.
const addressed = {
  'task.to': 'one', 'alert.to': 'several', 'role.to': 'people', 'decision.decider': 'people', 'decision.loggist': 'people',
};

const local = (date) => new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
const shapes = new Set(['casualty.tag', 'atmist.tag', 'role.role']); // what cannot hold an identifier

/** field makes one field: {name, node, values, fail, focus}. values is what the form is filled with before. */
function field(kind, f, who, values, entries) {
  const id = `f-${f.name}`;
  const key = `${kind}.${f.name}`;
  const described = `${id}-hint ${id}-error`;
  const hint = f.help && !addressed[key] ? el('p', { class: 'hint', id: `${id}-hint` }, f.help) : null;
  const error = el('p', { class: 'error', id: `${id}-error`, role: 'alert' });
  const title = f.required ? [f.label] : [f.label, el('span', { class: 'optional' }, ' (optional)')];
  const fail = (message) => say(error, message);
  const wrap = (input, read, more = {}) => ({
    name: f.name, input, values: read, fail, focus: () => input.focus(),
    node: el('div', { class: 'field' }, el('label', { for: id }, ...title), hint, error, more.node ?? input), ...more.extra,
  });
  const first = values?.[0] ?? '';
  if (addressed[key] === 'several') {
    const p = several(id, who, 16, true);
    const help = el('p', { class: 'hint', id: `${id}-hint` }, 'The first is called at once, the next when nobody has acknowledged in time.');
    return { name: f.name, values: p.values, fail, focus: p.focus, node: el('div', { class: 'field' }, el('label', { for: id }, ...title), help, error, p.node) };
  }
  if (addressed[key]) {
    const p = one(id, who, addressed[key]);
    if (first) p.set(first);
    return { name: f.name, values: p.values, fail, focus: p.focus, node: el('div', { class: 'field' }, el('label', { for: id }, ...title), hint, error, p.node) };
  }
  switch (f.input) {
    case 'choice': return choice(kind, f, title, hint, error, first, fail);
    case 'entry': return entry(f, id, title, error, first, entries?.[f.name], fail);
    case 'number': {
      const input = el('input', { id, type: 'text', inputmode: 'numeric', autocomplete: 'off', 'aria-describedby': described });
      input.value = first;
      return wrap(input, () => [input.value]);
    }
    case 'time': {
      const input = el('input', { id, type: 'datetime-local', 'aria-describedby': described });
      if (first) input.value = local(new Date(first));
      return wrap(input, () => (input.value ? [new Date(input.value).toISOString()] : []));
    }
    case 'text': case 'list': case 'statement': {
      const input = el('textarea', { id, rows: 2, autocomplete: 'off', 'aria-describedby': described });
      input.value = (values ?? []).join('\n');
      const out = wrap(input, () => (f.input === 'list' ? input.value.split('\n') : [input.value]));
      if (f.input !== 'statement') watch(input);
      return out;
    }
    default: {
      const input = el('input', { id, type: 'text', autocomplete: 'off', 'aria-describedby': described });
      if (f.name === 'tag') input.setAttribute('autocapitalize', 'characters');
      input.value = key === 'role.role' ? first.replaceAll('-', ' ') : first;
      const read = () => {
        if (key === 'role.role') return [roleOf(input.value)];
        return [f.name === 'tag' ? input.value.trim().toUpperCase() : input.value];
      };
      const out = wrap(input, read);
      if (!shapes.has(key)) watch(input);
      return out;
    }
  }
}

/** choice is a row of pills, each with its word. */
function choice(kind, f, title, hint, error, first, fail) {
  const name = `f-${f.name}`;
  const pills = el('div', { class: 'pills' }, ...f.choices.map((c) => el('label', { class: `pill ${f.name === 'triage' ? `triage ${c.value}` : ''}` },
    el('input', { type: 'radio', name, value: c.value, checked: c.value === first }), el('span', {}, c.label))));
  const node = el('fieldset', { class: 'field', 'aria-describedby': `${name}-error` }, el('legend', {}, ...title), hint, error, pills);
  error.id = `${name}-error`;
  const chosen = () => pills.querySelector('input:checked')?.value;
  return { name: f.name, node, fail, values: () => (chosen() ? [chosen()] : []), focus: () => pills.querySelector('input').focus() };
}

/** entry points at another message: one of those that the page knows of, or nothing. */
function entry(f, id, title, error, first, known = [], fail) {
  if (known.length === 0) return { name: f.name, node: null, fail, values: () => (first ? [first] : []), focus: () => {} };
  const select = el('select', { id, 'aria-describedby': `${id}-error` }, el('option', { value: '' }, 'Nothing: it stands by itself'),
    ...known.map((k) => el('option', { value: k.id }, k.label)));
  select.value = first || '';
  return { name: f.name, fail, values: () => (select.value ? [select.value] : []), focus: () => select.focus(),
    node: el('div', { class: 'field' }, el('label', { for: id }, ...title), error, select) };
}

/**
 * build makes the form of a kind. who: addressees; values: {name: [value]} to begin with; entries: {name: [{id, label}]} for fields that
 * point at messages. It returns {node, fields(), fail(error)}.
 */
export function build(kind, { who, values = {}, entries = {}, without = [] }) {
  const fields = kind.fields.filter((f) => f.input !== 'made' && !without.includes(f.name)).map((f) => field(kind.kind, f, who, values[f.name], entries));
  const shown = fields.filter((f) => f.node);
  return {
    node: el('div', { class: 'fields' }, ...shown.map((f) => f.node)),
    fields: () => Object.fromEntries(fields.map((f) => [f.name, f.values().filter((v) => v.trim() !== '')]).filter(([, v]) => v.length > 0)),
    /** fail shows an answer of the node at the field that it names, and returns whether it named one. */
    fail(message) {
      for (const f of fields) f.fail('');
      const named = shown.find((f) => message.includes(`(${f.name})`));
      if (!named) return false;
      named.fail(message.replace(` (${named.name})`, ''));
      named.focus();
      return true;
    },
    focus: () => shown[0]?.focus(),
  };
}
