// The boards of a conversation: what stands, apart from what was said. One shell, one part for each board.

import { byId, el, renew, say, soon } from '/assets/dom.js';
import { call } from '/assets/session.js';
import { begin, here } from '/assets/page.js';
import { exercise, ofConversation } from '/assets/exercise.js';
import { learn } from '/assets/names.js';
import { question } from '/assets/dialog.js';
import * as overview from '/assets/overview.js';
import * as incident from '/assets/incident.js';
import * as callouts from '/assets/callouts.js';
import * as casualties from '/assets/casualties.js';
import * as tasks from '/assets/tasks.js';
import * as alerts from '/assets/alerts.js';
import * as decisions from '/assets/decisions.js';
import * as duty from '/assets/duty.js';

const { id, what, path } = here();
const parts = { boards: overview, incident, 'call-outs': callouts, casualties, tasks, alerts, decisions, duty };
const names = { boards: 'All', incident: 'Incident', 'call-outs': 'Call-outs', casualties: 'Casualties', tasks: 'Tasks', alerts: 'Alerts', decisions: 'Decisions', duty: 'On duty' };
const part = parts[what];

let drawn = '';

/** act says something and draws the board anew; it returns whether that worked. */
async function act(kind, fields, priority = 'routine') {
  return attempt(() => call('POST', `${path}/messages`, { kind, fields, priority }));
}

async function attempt(work) {
  say(byId('error'), '');
  try {
    await work();
    drawn = '';
    await load();
    return true;
  } catch (error) {
    say(byId('error'), error.message);
    byId('error').scrollIntoView({ block: 'center' });
    return false;
  }
}

/** reason asks why, and then acts. fields takes the answer. */
async function reason(ask, kind, fields, priority) {
  const answer = await question(ask);
  return answer === null ? false : act(kind, fields(answer), priority);
}

const load = soon(async () => {
  try {
    const [board, group, status, more] = await Promise.all([
      call('GET', `${path}/board`), call('GET', path), call('GET', '/v1/status'), part.fetch ? part.fetch(path) : null]);
    // What has not changed is not drawn again: times move with the minute.
    const now = JSON.stringify([board, more, group.title, group.members, Math.floor(Date.now() / 60000)]);
    if (now === drawn) return;
    drawn = now;
    learn(group.members);
    exercise(Boolean(board.exercise));
    say(byId('where'), group.title);
    const { acts = [], nodes } = part.draw({ board, group, status, more, id, path, act, attempt, reason });
    renew(byId('acts'), ...acts);
    renew(byId('board'), ...nodes);
  } catch (error) {
    say(byId('error'), error.message);
  }
});

ofConversation();
byId('tabs').append(...Object.entries(names).map(([name, words]) => el('a', { href: `/c/${id}/${name}`, 'aria-current': name === what ? 'page' : null }, words)));
byId('up').href = what === 'boards' ? `/c/${id}` : `/c/${id}/boards`;
say(byId('up'), what === 'boards' ? 'Back to the conversation' : 'All boards');
begin(['message', 'delivery', 'group', 'people', 'erased', 'trust'], load);
setInterval(() => document.visibilityState === 'visible' && load(), 20000);
