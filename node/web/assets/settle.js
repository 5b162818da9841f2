// An incident of which those who run it say both that it is live and that it is an exercise: one of them settles which it is.

import { el } from '/assets/dom.js';
import { call } from '/assets/session.js';

/** settling draws what there is to settle; null where nobody says otherwise. */
export function settling(group, { path, sure, question }) {
  if (!group.contested) return null;
  const settle = async (mode, words, after) => {
    const why = await question({ title: `Is it ${words}?`, words: after, label: 'Why do you say so?', required: 'Say why.', action: `It is ${words}`, alarm: mode === 'exercise' });
    if (why !== null) await sure('Your name stands beside it, and it cannot be taken back.', (token) => call('POST', `${path}/incident/settle`, { mode, reason: why }, token), 'It is settled');
  };
  const button = (mode, words, after) => el('button', { type: 'button', 'data-key': `settle-${mode}`, on: { click: () => settle(mode, words, after) } }, `It is ${words}`);
  return el('section', { class: 'card', 'aria-labelledby': 'settle-title' },
    el('h2', { id: 'settle-title' }, 'Live, or an exercise?'),
    el('p', { class: 'doubt' }, 'Those who run this incident say both. Until one of them settles it, nothing of it goes into the record, and nothing goes because its time is over.'),
    el('div', { class: 'row' }, button('live', 'live', 'It goes into the record, for good.'),
      button('exercise', 'an exercise', 'It never goes into the record, and is erased when its time is over. That takes two who run the incident and say so.')));
}
