// Which time and which lanes are shown, and what is where.

const AXIS = 26, LANE = 30, MIN_SPAN = 0.05;
const canvas = $('picture'), pen = canvas.getContext('2d');

const view = { from: 0, to: 1, top: 0, width: 1, height: 1, gutter: 130, lanes: [], chosen: -1 };

const plot = () => Math.max(1, view.width - view.gutter - 8);
const x = t => view.gutter + (t - view.from) / (view.to - view.from) * plot();
const timeAt = px => view.from + (px - view.gutter) / plot() * (view.to - view.from);

// whole is all of the time, with a little room at its ends.
function whole() {
  const room = Math.max(1, (data.end - data.start) * 0.02);
  return [data.start - room, data.end + room];
}

function show(from, to) {
  const [least, most] = whole();
  let length = Math.min(Math.max(to - from, MIN_SPAN), most - least);
  from = Math.min(Math.max(from, least), most - length);
  if (from === view.from && from + length === view.to) return;
  view.from = from;
  view.to = from + length;
  invalidate();
}

function zoom(factor, at = (view.from + view.to) / 2) {
  show(at - (at - view.from) * factor, at + (view.to - at) * factor);
}

function move(ms) { show(view.from + ms, view.to + ms); }

function scroll(px) {
  const most = Math.max(0, view.lanes.length * LANE - (view.height - AXIS));
  const top = Math.min(Math.max(view.top + px, 0), most);
  if (top !== view.top) { view.top = top; invalidate(); }
}

function filter(text) {
  text = text.trim().toLowerCase();
  view.lanes = [];
  data.names.forEach((name, i) => { if (i === 0 || name.toLowerCase().includes(text)) view.lanes.push(i); });
  view.shown = new Set(view.lanes);
  view.top = 0;
  invalidate();
}

// inLanes tells whether a row is of a lane that is shown.
function inLanes(row) {
  return view.shown.has(data.service[row] + 1) || (data.targets[row] || []).some(s => view.shown.has(s + 1));
}

// step is how much time one cluster of marks covers: a power of two, so that
// clusters stay what they are while the picture is moved.
const step = () => 2 ** Math.ceil(Math.log2(9 * (view.to - view.from) / plot()));

// clusters calls back with the marks of one kind that fall together.
function clusters(marks, each) {
  const width = step();
  let i = first(marks.t, view.from - width);
  while (i < marks.t.length && marks.t[i] <= view.to + width) {
    const end = (Math.floor(marks.t[i] / width) + 1) * width;
    const next = Math.max(i + 1, first(marks.t, end, i));
    each(i, next);
    i = next;
  }
}

// hit finds the row at a place of the picture: a mark, else the bar's record;
// -1 for nothing.
function hit(px, py) {
  if (px < view.gutter || py < AXIS) return -1;
  const lane = view.lanes[Math.floor((py - AXIS + view.top) / LANE)];
  if (lane === undefined) return -1;
  const at = timeAt(px), reach = (view.to - view.from) / plot() * 12;
  let best = -1, distance = reach, grave = 0;
  for (let m = MARKS.length - 1; m > 0; m--) {
    const marks = data.laneMarks[lane][m];
    const i = first(marks.t, at);
    for (const k of [i - 1, i]) {
      if (k < 0 || k >= marks.t.length) continue;
      const d = Math.abs(marks.t[k] - at);
      if (d < distance * (m < grave ? 0.5 : 1)) { best = marks.row[k]; distance = d; grave = m; }
    }
  }
  if (best >= 0) return best;
  const bars = data.bars[lane];
  const i = first(bars.t, at) - 1;
  return i >= 0 && bars.phase[i] >= 0 ? bars.row[i] : -1;
}

// around is the range of marks within the time that is shown.
function around() {
  const rows = data.marks;
  let lo = 0, hi = rows.length;
  while (lo < hi) { const mid = (lo + hi) >> 1; if (data.time[rows[mid]] < view.from) lo = mid + 1; else hi = mid; }
  const begin = lo;
  hi = rows.length;
  while (lo < hi) { const mid = (lo + hi) >> 1; if (data.time[rows[mid]] <= view.to) lo = mid + 1; else hi = mid; }
  return [begin, lo];
}

// nextMark is the next mark in the time and lanes shown, or -1.
function nextMark(back) {
  const [begin, end] = around();
  const rows = data.marks;
  let i = back ? end - 1 : begin;
  if (view.chosen >= 0) {
    const at = first(rows, view.chosen);
    if (at >= begin && at < end) i = back ? at - 1 : at + (rows[at] === view.chosen ? 1 : 0);
  }
  for (; i >= begin && i < end; i += back ? -1 : 1) if (inLanes(rows[i])) return rows[i];
  return -1;
}

function choose(row) {
  view.chosen = row;
  if (row >= 0) {
    const t = data.time[row];
    if (t < view.from || t > view.to) move(t - (view.from + view.to) / 2);
    let lane = data.service[row] + 1;
    if (!view.shown.has(lane)) lane = ((data.targets[row] || []).find(s => view.shown.has(s + 1)) ?? -1) + 1;
    const y = view.lanes.indexOf(lane) * LANE;
    if (y >= 0 && y < view.top) scroll(y - view.top);
    if (y + LANE > view.top + view.height - AXIS) scroll(y + LANE - (view.top + view.height - AXIS));
    $('told').textContent = line(row);
  }
  invalidate();
}
