// Pointers, keys, the list of marks, and the beginning.

const ROW = 30;
let leaving = false;

function tell() {
  const [begin, end] = around();
  $('range').textContent = `${day(view.from)} ${clock(view.from)} to ${day(view.to)} ${clock(view.to)} ${utc ? 'UTC' : 'local'} (${span(view.to - view.from)}), ${end - begin} marks`;
  const room = view.height - AXIS, all = view.lanes.length * LANE;
  $('bar').hidden = all <= room;
  $('thumb').style.height = Math.max(20, room * room / Math.max(all, 1)) + 'px';
  $('thumb').style.top = view.top / Math.max(all, 1) * room + 'px';
  marksList(begin, end);
}

// listed is the rows of the list: the marks in the time and the lanes shown.
let listed = { key: '', rows: [] };

function marksList(begin, end) {
  const all = view.lanes.length === data.names.length;
  const key = `${begin} ${end} ${view.lanes.length} ${view.lanes[1]} ${pick.kind} ${pick.actor}`;
  if (key !== listed.key) {
    let rows = data.marks.subarray(begin, end);
    if (!all) rows = rows.filter(inLanes);
    listed = { key, rows };
    $('list-title').textContent = `Marks (${rows.length})`;
  }
  listRows();
}

function listRows() {
  const box = $('marks'), rows = listed.rows;
  const begin = Math.max(0, Math.floor(box.scrollTop / ROW) - 2);
  const end = Math.min(rows.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + 2);
  const room = element('div', '');
  room.style.height = rows.length * ROW + 'px';
  const items = [room];
  for (let i = begin; i < end; i++) {
    const e = element('div', line(rows[i]), rows[i] === view.chosen ? 'chosen' : '');
    e.setAttribute('role', 'listitem');
    e.setAttribute('aria-setsize', rows.length);
    e.setAttribute('aria-posinset', i + 1);
    e.dataset.row = rows[i];
    e.style.top = i * ROW + 'px';
    items.push(e);
  }
  box.replaceChildren(...items);
}

function listKeys(e) {
  const rows = listed.rows, at = first(rows, view.chosen);
  const to = { ArrowDown: rows[at] === view.chosen ? at + 1 : at, ArrowUp: at - 1, Home: 0, End: rows.length - 1, PageDown: at + 8, PageUp: at - 8 }[e.key];
  if (to !== undefined && rows.length) {
    const i = Math.min(Math.max(to, 0), rows.length - 1), box = $('marks');
    if (i * ROW < box.scrollTop) box.scrollTop = i * ROW;
    if ((i + 1) * ROW > box.scrollTop + box.clientHeight) box.scrollTop = (i + 1) * ROW - box.clientHeight;
    choose(rows[i]);
    e.preventDefault();
  } else if (e.key === 'Enter' && view.chosen >= 0) {
    open(view.chosen);
    e.preventDefault();
  }
}

const pointers = new Map();
let travelled = 0;

function down(e) {
  canvas.setPointerCapture(e.pointerId);
  pointers.set(e.pointerId, { x: e.offsetX, y: e.offsetY });
  if (pointers.size === 1) travelled = 0;
  canvas.classList.add('moving');
}

function drag(e) {
  const p = pointers.get(e.pointerId);
  if (!p) return;
  const dx = e.offsetX - p.x, dy = e.offsetY - p.y;
  travelled += Math.abs(dx) + Math.abs(dy);
  const per = (view.to - view.from) / plot();
  if (pointers.size === 1) {
    if (travelled > 4) { move(-dx * per); scroll(-dy); }
  } else if (pointers.size === 2) {
    const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
    const before = Math.max(12, Math.abs(p.x - other.x)), after = Math.max(12, Math.abs(e.offsetX - other.x));
    const at = timeAt((p.x + other.x) / 2);
    zoom(before / after, at);
    move(-dx / 2 * (view.to - view.from) / plot());
  }
  p.x = e.offsetX;
  p.y = e.offsetY;
}

function up(e) {
  const alone = pointers.size === 1;
  if (!pointers.delete(e.pointerId)) return;
  if (!pointers.size) canvas.classList.remove('moving');
  if (e.type !== 'pointerup' || !alone || travelled > 4) return;
  const row = hit(e.offsetX, e.offsetY);
  if (row >= 0) { choose(row); open(row); }
}

function wheel(e) {
  e.preventDefault();
  const px = e.deltaMode === 1 ? 16 : e.deltaMode === 2 ? 200 : 1;
  if (e.offsetX < view.gutter && !e.ctrlKey) return scroll(e.deltaY * px);
  const side = e.shiftKey ? e.deltaX || e.deltaY : e.deltaX;
  if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) return move(side * px * (view.to - view.from) / plot());
  zoom(Math.exp(Math.min(Math.max(e.deltaY * px, -300), 300) * 0.0022), timeAt(e.offsetX));
}

const span10 = () => (view.to - view.from) / 5;
const ACTS = {
  ArrowLeft: () => move(-span10()), ArrowRight: () => move(span10()),
  ArrowUp: () => scroll(-LANE), ArrowDown: () => scroll(LANE), PageUp: () => scroll(-view.height / 2), PageDown: () => scroll(view.height / 2),
  '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6), 0: () => show(...whole()),
  Enter: () => view.chosen >= 0 && open(view.chosen),
};

function pictureKeys(e) {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === 'Tab') {
    const row = leaving ? -1 : nextMark(e.shiftKey);
    leaving = false;
    if (row < 0) return; // on to what comes next in the page
    choose(row);
  } else if (ACTS[e.key]) ACTS[e.key]();
  else return;
  e.preventDefault();
}

function pageKeys(e) {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const choosing = e.target.tagName === 'SELECT', typing = choosing || e.target.tagName === 'INPUT';
  if (e.key === 'Escape') {
    if (shut()) return;
    if (choosing) { e.target.value = ''; repick(); canvas.focus(); return; }
    if (typing) { e.target.value = ''; filter(''); canvas.focus(); return; }
    leaving = true;
    choose(-1);
  } else if (e.key === '/' && !typing) {
    e.preventDefault();
    shut();
    $('filter').focus();
  } else if (!typing && (e.key === 'k' || e.key === 'a')) {
    e.preventDefault();
    shut();
    $(e.key === 'k' ? 'kind' : 'actor').focus();
  } else if (!typing && e.target === document.body && ACTS[e.key]) ACTS[e.key]();
}

// choices fills a list to choose from; the first is no choice.
function choices(id, none, values) {
  const option = (value, text) => { const o = element('option', text); o.value = value; return o; };
  $(id).replaceChildren(option('', none), ...values.map(v => option(v, v)));
  $(id).addEventListener('change', repick);
}

function repick() {
  pick.kind = $('kind').value;
  pick.actor = $('actor').value;
  view.chosen = -1;
  sift();
  invalidate();
}

function listen() {
  canvas.addEventListener('pointerdown', down);
  canvas.addEventListener('pointermove', drag);
  canvas.addEventListener('pointerup', up);
  canvas.addEventListener('pointercancel', up);
  canvas.addEventListener('wheel', wheel, { passive: false });
  canvas.addEventListener('keydown', pictureKeys);
  canvas.addEventListener('focus', () => { leaving = false; });
  document.addEventListener('keydown', pageKeys);
  const click = (id, act) => $(id).addEventListener('click', act);
  click('earlier', ACTS.ArrowLeft);
  click('later', ACTS.ArrowRight);
  click('in', ACTS['+']);
  click('out', ACTS['-']);
  click('all', ACTS[0]);
  click('close', shut);
  click('before', () => { choose(opened - 1); open(opened - 1); });
  click('after', () => { choose(opened + 1); open(opened + 1); });
  click('zone', () => { utc = !utc; $('zone').textContent = utc ? 'UTC' : 'Local'; invalidate(); });
  click('help', () => { $('keys').hidden = !$('keys').hidden; $('help').setAttribute('aria-expanded', String(!$('keys').hidden)); legend(); });
  $('filter').addEventListener('input', e => filter(e.target.value));
  $('marks').addEventListener('scroll', listRows);
  $('marks').addEventListener('keydown', listKeys);
  $('marks').addEventListener('click', e => { const row = e.target.dataset.row; if (row) { choose(+row); open(+row); } });
  new ResizeObserver(resize).observe(canvas);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { dress(); legend(); });
}

function about() {
  const m = data.meta, parts = [`${data.time.length} records of ${m.node || 'no node'}, from ${m.source}`];
  if (m.filter) parts.push('only ' + m.filter);
  if (m.damaged) parts.push('THE JOURNAL IS DAMAGED: see the gaps');
  if (m.redacted) parts.push(`${m.redacted} values in output replaced`);
  if (m.left) parts.push('output left out: ' + m.left);
  parts.push('supreplay ' + m.version);
  $('about').textContent = parts.join(' · ');
}

async function start() {
  try {
    await load();
  } catch (e) {
    $('about').textContent = `Cannot read the records in this page: ${e}. It may be cut short, or the browser too old for it (2023 or newer).`;
    return;
  }
  about();
  listen();
  choices('kind', 'all kinds', [...new Set(data.kinds.flatMap(k => [k.split('.')[0], k]))].sort());
  choices('actor', 'all actors', data.actors.filter(a => a).sort());
  dress();
  filter('');
  [view.from, view.to] = whole();
  resize();
  // For the console, and for who wants to look at the records another way.
  window.supreplay = { data, view, show, zoom, move, scroll, draw, hit, x, whole, stored };
  document.body.dataset.ready = 'yes';
}
