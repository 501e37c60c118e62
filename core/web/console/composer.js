// What is written and sent, once or many times.

import { $, bytes, make, number, parse, plural, put, toBytes } from './words.js';

let dialect;
let link;
let file;
let repeating;
/** What was written stays with the kind of message it was written for. */
const drafts = new Map();
let draft;

const call = (what) => (typeof what === 'function' ? what(composed()) : what);
const composed = () => ({ kind: $('kind').value, name: $('name').value.trim(), body: $('body').value, answer: !$('answer-field').hidden && $('answer').checked, file });

const judge = () => {
  const message = composed();
  const [, form] = call(dialect.body) || [];
  if (call(dialect.name) && !message.name) throw Error(`${$('name-label').textContent} is missing.`);
  if (form === 'json' && message.body.trim() && parse(message.body) === undefined) {
    try {
      JSON.parse(message.body);
    } catch (error) {
      throw Error(`Not JSON: ${error.message.replace(/^JSON\.parse: /, '')}`);
    }
  }
  return { message, about: dialect.check?.(message) || (form && form !== 'hex' ? `${bytes(toBytes(message.body).length)}.` : '') };
};

const describe = () => {
  let text;
  let wrong = false;
  try {
    text = judge().about;
    if (!link?.ready) text += ' Connect to send.';
  } catch (error) {
    wrong = true;
    text = error.message;
  }
  if (repeating) text = `${plural(repeating.sent, 'message')} of ${number(repeating.times)} sent.`;
  put($('hint'), text);
  $('hint').classList.toggle('bad', wrong);
  $('send').disabled = !repeating && (wrong || !link?.ready);
  const times = Math.max(1, +$('times').value || 1);
  put($('send'), repeating ? 'Stop' : times > 1 ? `Send ${number(times)}×` : 'Send');
};

const stop = () => {
  clearTimeout(repeating?.timer);
  repeating = undefined;
};

/** Timers fire late; what should have gone by now goes together. */
const next = () => {
  const { began, every, times, message } = repeating;
  const wanted = every ? Math.floor((performance.now() - began) / every) + 1 : repeating.sent + 50;
  while (repeating.sent < Math.min(times, wanted) && link?.ready) {
    link.send(message);
    repeating.sent++;
  }
  if (repeating.sent >= times || !link?.ready) stop();
  else repeating.timer = setTimeout(next, every && Math.max(4, began + repeating.sent * every - performance.now()));
  describe();
};

const send = () => {
  if (repeating) return stop(), describe();
  if (!link?.ready) return;
  try {
    const { message } = judge();
    const times = Math.min(100_000, Math.max(1, +$('times').value || 1));
    if (times === 1) return void link.send(message);
    repeating = { message, times, every: Math.max(0, +$('every').value || 0), began: performance.now(), sent: 0 };
    next();
  } catch {}
  describe();
};

/** Fields that fit the dialect and the kind of message. */
const shape = () => {
  const { kind } = composed();
  const name = call(dialect.name);
  const body = call(dialect.body);
  $('name-field').hidden = !name;
  $('body-field').hidden = !body || kind === 'file';
  $('file-field').hidden = kind !== 'file';
  $('answer-field').hidden = !call(dialect.answers);
  if (draft) drafts.set(draft, [$('name').value, $('body').value]);
  draft = `${dialect.label} ${kind}`;
  const [names, bodies] = drafts.get(draft) ?? [];
  if (name) {
    put($('name-label'), name[0]);
    $('name').value = names ?? name[1];
    $('names').replaceChildren(...name[2].map((value) => make('option', { value })));
  }
  if (body) {
    put($('body-label'), body[0]);
    $('body').value = bodies ?? body[2];
  }
  describe();
};

export const useDialect = (given) => {
  if (draft) drafts.set(draft, [$('name').value, $('body').value]);
  draft = undefined;
  dialect = given;
  $('kind').hidden = !dialect.kinds;
  $('kind').replaceChildren(...(dialect.kinds ?? []).map(([value, text]) => make('option', { value, textContent: text })));
  shape();
};

/** The link to send by, if there is any. */
export const useLink = (given) => {
  link = given;
  if (!link) stop();
  describe();
};

/** Fills the fields. */
export const fill = ({ kind, name, body, answer }) => {
  if (kind) $('kind').value = kind;
  shape();
  if (name !== undefined) $('name').value = name;
  if (body !== undefined) $('body').value = body;
  if (answer !== undefined) $('answer').checked = answer;
  describe();
};

export { composed, describe };

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  send();
});
$('composer').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  send();
});
$('composer').addEventListener('input', () => describe());
$('kind').onchange = shape;
$('file').onchange = async () => {
  const [chosen] = $('file').files;
  file = chosen && new Uint8Array(await chosen.arrayBuffer());
  describe();
};
