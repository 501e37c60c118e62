// The list of messages: bounded, filtered, held still on demand. Only the rows that can be
// seen are in the page, so that a flood costs no more than a trickle.

import { $, ascii, bytes, hex, make, ms, number, parse, plural, put, sizeOf, timeOfDay } from './words.js';

/** Rows kept, what they may hold together, and what of one message. */
const KEEP = 2_000;
const KEEP_BYTES = 16e6;
const KEEP_EACH = 65_536;
const HEX_SHOWN = 4_096;
const ARROWS = { in: '↓', out: '↑' };
const DEFAULT_TYPES = ['message', 'answer', 'problem', 'note'];

const list = $('log');
const space = $('space');
const filters = [$('filter'), $('direction'), $('type')];
const rows = [];
const held = { rows: [], bytes: 0 };
/** What is shown: all that passes the filter; while it is held still, what did then. */
let view = [];
let frozen;
let all = 0;
let gone = 0;
let unseen = 0;
let follows = true;
let chosen;
let due = false;
let stuck = 0;

const isWanted = (row) => {
  const [text, way, type] = filters.map(({ value }) => value);
  if (way && row.way !== way) return false;
  if (type ? type !== 'all' && row.type !== type : !DEFAULT_TYPES.includes(row.type)) return false;
  const wanted = text.trim().toLowerCase();
  if (!wanted || row.name.toLowerCase().includes(wanted)) return true;
  if (typeof row.body === 'string') return row.body.toLowerCase().includes(wanted);
  return hex(row.body, '').includes(wanted.replace(/\s/g, '')) || ascii(row.body).toLowerCase().includes(wanted);
};

/** No more than is kept, and nothing that others may change or that holds on to more. */
const cut = (content) => {
  if (typeof content !== 'string') return content.slice(0, KEEP_EACH);
  return content.length > KEEP_EACH ? new TextDecoder().decode(new TextEncoder().encode(content.slice(0, KEEP_EACH))) : content;
};

/** Takes in a row: { way, type, name, body, wire, trip, ... }. Gives it back. */
export const add = (given) => {
  const { body } = given;
  const size = given.size ?? sizeOf(given.wire ?? body);
  const row = { at: Date.now(), ...given, n: ++all, size, name: String(given.name), body: cut(body), isCut: sizeOf(body) > KEEP_EACH };
  if (row.wire !== undefined) row.wire = row.wire === body ? row.body : cut(row.wire);
  held.rows.push(row);
  held.bytes += row.body.length;
  while (held.rows.length > KEEP || held.bytes > KEEP_BYTES) {
    const old = held.rows.shift();
    held.bytes -= old.body.length;
    gone++;
    if (view[0] === old) {
      view.shift();
      // What is read must not move away.
      if (!frozen && !follows) stuck++;
    }
  }
  if (isWanted(row)) {
    view.push(row);
    if (!follows || frozen) unseen++;
  }
  wake();
  return row;
};

const shown = () => frozen?.view ?? view;
const height = () => (list.clientWidth < 560 ? 46 : 28);

const wake = () => {
  if (due) return;
  due = true;
  const go = () => {
    if (due) draw();
  };
  requestAnimationFrame(go);
  // Hidden pages are not drawn, but counted.
  setTimeout(go, 250);
};

const preview = ({ body, size, problem }) => {
  if (problem) return `${problem.title} · ${problem.cause}`;
  if (typeof body === 'string') return body.slice(0, 300);
  return `${hex(body.subarray(0, 24))}${size > 24 ? ' …' : ''}  ${ascii(body.subarray(0, 24))}`;
};

const draw = () => {
  due = false;
  const items = shown();
  const high = height();
  const total = `${items.length * high}px`;
  if (space.style.height !== total) space.style.height = total;
  if (stuck) list.scrollTop -= stuck * high;
  stuck = 0;
  if (follows && !frozen) list.scrollTop = items.length * high;
  const first = Math.max(0, Math.floor(list.scrollTop / high) - 4);
  const last = Math.min(items.length, first + Math.ceil(list.clientHeight / high) + 8);
  while (rows.length < last - first) {
    const cells = ['time', 'way', 'name', 'text', 'trip', 'size'].map((name) => make('span', { className: name }));
    const row = make('div', { role: 'option', id: `row-${rows.length}` }, ...cells);
    rows.push({ row, cells });
    space.append(row);
  }
  let active = '';
  rows.forEach(({ row, cells }, i) => {
    const item = items[first + i];
    row.hidden = first + i >= last;
    row.item = item;
    if (row.hidden) return;
    const isChosen = item === chosen;
    if (isChosen) active = row.id;
    const kind = `${item.way || 'none'} ${item.type}`;
    if (row.className !== kind) row.className = kind;
    row.style.top = `${(first + i) * high}px`;
    row.setAttribute('aria-selected', isChosen);
    row.setAttribute('aria-posinset', first + i + 1);
    row.setAttribute('aria-setsize', items.length);
    const { way, type, trip } = item;
    const texts = [timeOfDay(item.at), type === 'problem' ? '!' : (ARROWS[way] ?? '·'), item.name, preview(item), trip === undefined ? '' : ms(trip), way ? bytes(item.size) : ''];
    texts.forEach((text, i) => put(cells[i], text));
  });
  if (active) list.setAttribute('aria-activedescendant', active);
  else list.removeAttribute('aria-activedescendant');
  const [kept, hint] = $('count').children;
  put(kept, `${plural(all, 'row')}${items.length < all - gone ? `, ${number(items.length)} shown` : ''}${gone ? `, the oldest ${number(gone)} dropped` : ''}`);
  const news = unseen > 0 && (!follows || frozen);
  put(hint, news ? '' : frozen ? 'paused' : follows ? 'newest last' : 'held where you read');
  put($('log-empty'), items.length ? '' : all ? 'Nothing passes the filter.' : 'Connect and send: what crosses the wire appears here. Choose Everything to see control messages too.');
  put($('newer'), `${plural(unseen, 'newer row')} ↓`);
  $('newer').hidden = !news;
};

const refilter = () => {
  view = held.rows.filter(isWanted);
  if (frozen) frozen.view = frozen.all.filter(isWanted);
  unseen = 0;
  wake();
};

/** Holds the list still, or lets it go on. What comes meanwhile is counted. */
export const pause = (still = !frozen) => {
  if (still) {
    frozen = { all: [...held.rows], view: [...view] };
  } else {
    frozen = undefined;
    follows = true;
    unseen = 0;
  }
  $('pause').setAttribute('aria-pressed', still);
  put($('pause'), still ? 'Resume' : 'Pause');
  wake();
};

export const clear = () => {
  held.rows.length = held.bytes = all = gone = 0;
  choose();
  pause(false);
  refilter();
};

// ---- One of them, whole

let actions;
/** `given`: edit(row), again(row), and canSend(). */
export const use = (given) => (actions = given);

const hexDump = (data) => {
  const width = list.clientWidth < 560 ? 8 : 16;
  const lines = [];
  for (let at = 0; at < Math.min(data.length, HEX_SHOWN); at += width) {
    const part = data.subarray(at, at + width);
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex(part).padEnd(width * 3)} ${ascii(part)}`);
  }
  if (data.length > HEX_SHOWN) lines.push('…');
  return lines.join('\n');
};

const contentOf = ({ body, wire, problem }, how) => {
  if (problem) return [problem.title, `Cause: ${problem.cause}`, `Cure: ${problem.cure}`, body].filter(Boolean).join('\n');
  if (how === 'hex' || typeof body !== 'string') return hexDump(typeof body === 'string' ? new TextEncoder().encode(wire ?? body) : body);
  if (how === 'raw') return wire ?? body;
  const value = parse(body);
  return value && typeof value === 'object' ? JSON.stringify(value, null, 2) : body;
};

const choose = (row) => {
  chosen = row;
  $('detail').hidden = !row;
  if (row) {
    const { name, way, at, size, trip, type, isCut, answerTo } = row;
    put($('detail-title'), name);
    put($('detail-about'), [way && (way === 'in' ? 'received' : 'sent'), type, timeOfDay(at), way && bytes(size), trip !== undefined && ms(trip), isCut && 'only its beginning is kept'].filter(Boolean).join(' · '));
    put($('content'), contentOf(row, $('view').value) || '(empty)');
    put($('edit'), answerTo ? 'Answer' : 'Edit');
    $('edit').hidden = $('again').hidden = !['message', 'answer'].includes(type);
    $('edit').disabled = isCut;
    $('again').disabled = isCut || way !== 'out' || !actions.canSend();
    const at_ = shown().indexOf(row) * height();
    if (at_ < list.scrollTop) list.scrollTop = at_;
    else if (at_ + height() > list.scrollTop + list.clientHeight) list.scrollTop = at_ + height() - list.clientHeight;
    follows = isAtEnd();
  }
  wake();
};
const isAtEnd = () => list.scrollHeight - list.clientHeight - list.scrollTop < 4;

const copy = async () => {
  const text = $('content').textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only secure pages may; all can select.
    getSelection().selectAllChildren($('content'));
    document.execCommand('copy');
  }
  put($('copy'), 'Copied');
  setTimeout(() => put($('copy'), 'Copy'), 1_500);
};

const step = (by) => {
  const items = shown();
  const at = items.indexOf(chosen);
  const next = at < 0 && Number.isFinite(by) ? items.length - 1 : at + by;
  choose(items[Math.max(0, Math.min(items.length - 1, next))]);
};

// The list may move on between a press and its release.
let pressed;
const rowAt = ({ target }) => target.closest('[role=option]')?.item;
list.addEventListener('pointerdown', (event) => (pressed = rowAt(event)));
list.addEventListener('click', (event) => {
  choose(pressed ?? rowAt(event));
  pressed = undefined;
});
list.addEventListener('keydown', (event) => {
  const page = Math.floor(list.clientHeight / height()) - 1;
  const by = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity, Enter: 0 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by);
});
list.addEventListener('scroll', () => {
  if (!frozen) follows = isAtEnd();
  if (follows && !frozen) unseen = 0;
  wake();
});
new ResizeObserver(wake).observe(list);
for (const input of filters) input.addEventListener('input', refilter);
$('pause').onclick = () => pause();
$('clear').onclick = clear;
$('newer').onclick = () => {
  pause(false);
  list.focus();
};
$('close').onclick = () => {
  choose();
  list.focus();
};
$('view').onchange = () => choose(chosen);
$('copy').onclick = copy;
$('edit').onclick = () => actions.edit(chosen);
$('again').onclick = () => actions.again(chosen);

/** Whether there was one to close. */
export const close = () => !$('detail').hidden && ($('close').onclick(), true);
export { choose, refilter };
wake();
