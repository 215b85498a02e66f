// Drawing. What is smaller than a pixel is drawn together, so that a frame
// costs what is on the screen and not what is in the journal.

// How a phase looks: never by its colour alone, but by height and texture too.
const LOOKS = {
  stopped: { light: '#8c959f', dark: '#6e7781', high: 0.12 },
  waiting: { light: '#8250df', dark: '#b392f0', high: 0.3, lines: 'dots' },
  starting: { light: '#0969da', dark: '#58a6ff', high: 0.6, lines: 'up' },
  running: { light: '#2da44e', dark: '#3fb950', high: 0.6 },
  stopping: { light: '#bf8700', dark: '#d29922', high: 0.6, lines: 'down' },
  backoff: { light: '#d4a72c', dark: '#e3b341', high: 0.3, lines: 'dots' },
  exited: { light: '#57606a', dark: '#8b949e', high: 0.2 },
  fatal: { light: '#cf222e', dark: '#f85149', high: 0.6, lines: 'cross' },
  stuck: { light: '#a40e26', dark: '#ff7b72', high: 0.6, lines: 'down' },
  unknown: { light: '#afb8c1', dark: '#484f58', high: 0.6, lines: 'dots' },
};
const MANY = { light: '#4a9cc7', dark: '#79c0ff', high: 0.45, lines: 'stand' };
const MARK_LOOKS = [null,
  { shape: 'ring', light: '#57606a', dark: '#9aa5b1' },
  { shape: 'square', light: '#6639ba', dark: '#d2a8ff' },
  { shape: 'up', light: '#0550ae', dark: '#79c0ff' },
  { shape: 'bang', light: '#953800', dark: '#ffa657' },
  { shape: 'diamond', light: '#7d4e00', dark: '#e3b341' },
  { shape: 'house', light: '#1b1f24', dark: '#ffffff' },
  { shape: 'cross', light: '#cf222e', dark: '#ff7b72' },
  { shape: 'block', light: '#82071e', dark: '#ffb3ad' },
];

let dark = false, theme = {}, fills = new Map(), waiting = false;

function dress() {
  dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const style = getComputedStyle(document.documentElement);
  for (const name of ['back', 'fore', 'soft', 'line', 'tint', 'accent']) theme[name] = style.getPropertyValue('--' + name).trim();
  fills = new Map();
  invalidate();
}

// fill is the colour of a look, with its texture.
function fill(look, alone) {
  if (fills.has(look)) return fills.get(look);
  const colour = dark ? look.dark : look.light;
  let made = colour;
  if (look.lines) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 8;
    const p = tile.getContext('2d');
    p.fillStyle = colour;
    p.fillRect(0, 0, 8, 8);
    p.strokeStyle = p.fillStyle = dark ? '#000000a0' : '#ffffffc0';
    p.lineWidth = 2;
    const draw = points => { p.beginPath(); points.forEach(([a, b], i) => i % 2 ? p.lineTo(a, b) : p.moveTo(a, b)); p.stroke(); };
    if (look.lines === 'up' || look.lines === 'cross') draw([[-2, 2], [2, -2], [0, 8], [8, 0], [6, 10], [10, 6]]);
    if (look.lines === 'down' || look.lines === 'cross') draw([[-2, 6], [2, 10], [0, 0], [8, 8], [6, -2], [10, 2]]);
    if (look.lines === 'stand') draw([[2, 0], [2, 8], [6, 0], [6, 8]]);
    if (look.lines === 'dots') { p.fillRect(1, 1, 2, 2); p.fillRect(5, 5, 2, 2); }
    made = pen.createPattern(tile, 'repeat');
  }
  fills.set(look, made);
  return made;
}

function invalidate() {
  if (waiting || !data) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); tell(); });
}

function resize() {
  const scale = Math.min(window.devicePixelRatio || 1, 3);
  view.width = canvas.clientWidth;
  view.height = canvas.clientHeight;
  view.gutter = Math.min(190, Math.max(84, view.width * 0.16));
  canvas.width = Math.round(view.width * scale);
  canvas.height = Math.round(view.height * scale);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  scroll(0);
  invalidate();
}

function draw() {
  pen.clearRect(0, 0, view.width, view.height);
  pen.font = '12px system-ui, sans-serif';
  pen.textBaseline = 'middle';
  const begin = Math.floor(view.top / LANE);
  const end = Math.min(view.lanes.length, Math.ceil((view.top + view.height - AXIS) / LANE));
  pen.save();
  pen.beginPath();
  pen.rect(0, AXIS, view.width, view.height - AXIS);
  pen.clip();
  for (let i = begin; i < end; i++) {
    const y = AXIS + i * LANE - view.top;
    pen.fillStyle = theme.tint;
    if (i % 2) pen.fillRect(0, y, view.width, LANE);
  }
  grid(true);
  pen.save();
  pen.beginPath();
  pen.rect(view.gutter, AXIS, plot() + 8, view.height - AXIS);
  pen.clip();
  for (let i = begin; i < end; i++) bars(data.bars[view.lanes[i]], AXIS + i * LANE - view.top);
  deaths();
  for (let i = begin; i < end; i++) laneMarks(view.lanes[i], AXIS + i * LANE - view.top);
  pen.restore();
  pen.fillStyle = theme.fore;
  for (let i = begin; i < end; i++) pen.fillText(fit(data.names[view.lanes[i]]), 8, AXIS + i * LANE - view.top + LANE / 2);
  pen.restore();
  grid(false);
}

// fit cuts a name so that its beginning and end are there.
function fit(name) {
  const room = view.gutter - 14;
  name = name.replace(/[^\x20-\x7e\xa0-\uffff]/g, '·');
  if (pen.measureText(name).width <= room) return name;
  let keep = Math.max(4, Math.floor(name.length * room / pen.measureText(name).width) - 1);
  return name.slice(0, Math.ceil(keep / 2)) + '…' + name.slice(name.length - Math.floor(keep / 2));
}

const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3,
  1800e3, 3600e3, 7200e3, 10800e3, 21600e3, 43200e3, 86400e3, 172800e3, 604800e3, 2592000e3, 7776000e3, 31536000e3];

function grid(lines) {
  const per = (view.to - view.from) / plot();
  const size = STEPS.find(s => s / per >= 95) || STEPS[STEPS.length - 1];
  const shift = utc ? 0 : new Date(view.from).getTimezoneOffset() * 60e3;
  pen.strokeStyle = theme.line;
  pen.fillStyle = theme.soft;
  pen.lineWidth = 1;
  let last = '';
  for (let t = Math.ceil((view.from - shift) / size) * size + shift; t <= view.to; t += size) {
    const px = Math.round(x(t)) + 0.5;
    if (lines) {
      pen.beginPath(); pen.moveTo(px, AXIS); pen.lineTo(px, view.height); pen.stroke();
      continue;
    }
    const p = parts(t);
    let text = size >= 86400e3 ? day(t) : `${two(p[3])}:${two(p[4])}`;
    if (size < 60e3) text += ':' + two(p[5]);
    if (size < 1e3) text += '.' + (size < 1 ? (p[6] + t % 1).toFixed(2).padStart(6, '0') : String(p[6]).padStart(3, '0'));
    const today = day(t);
    if (size < 86400e3 && today !== last && t % 86400e3 < size) text = today.slice(5) + ' ' + text;
    last = today;
    pen.fillText(text, px + 3, AXIS / 2);
  }
  if (!lines) { pen.beginPath(); pen.moveTo(0, AXIS - 0.5); pen.lineTo(view.width, AXIS - 0.5); pen.stroke(); }
}

function bars(b, y) {
  const per = (view.to - view.from) / plot();
  let i = Math.max(0, first(b.t, view.from) - 1);
  while (i < b.t.length && b.t[i] <= view.to) {
    const left = Math.max(x(b.t[i]), view.gutter);
    let next = i + 1, look = b.phase[i] < 0 ? null : LOOKS[data.phases[b.phase[i]]] || LOOKS.unknown;
    const end = next < b.t.length ? b.t[next] : data.end;
    if (end - b.t[i] < per && next < b.t.length) { // several within a pixel
      next = Math.max(next, first(b.t, Math.max(b.t[i], view.from) + per, next) - 1);
      look = next > i + 1 ? MANY : look;
    }
    const right = Math.min(x(next < b.t.length ? b.t[next] : data.end), view.width);
    if (look && right >= view.gutter) bar(look, left, right, y, look === MANY ? '' : data.phases[b.phase[i]]);
    i = next;
  }
}

function bar(look, left, right, y, name) {
  const high = Math.max(3, LANE * look.high), top = y + (LANE - high) / 2;
  pen.fillStyle = fill(look);
  pen.fillRect(left, top, Math.max(1, right - left), high);
  if (right - left > 64 && name && name !== 'stopped' && name !== 'exited') {
    pen.font = '11px system-ui, sans-serif';
    const width = pen.measureText(name).width;
    const at = Math.max(left + 5, view.gutter + 5);
    if (right - at > width + 10) {
      pen.fillStyle = theme.back;
      pen.fillRect(at - 3, y + LANE / 2 - 7, width + 6, 14);
      pen.fillStyle = theme.fore;
      pen.fillText(name, at, y + LANE / 2 + 0.5);
    }
    pen.font = '12px system-ui, sans-serif';
  }
}

// deaths of supd itself go through all lanes.
function deaths() {
  pen.strokeStyle = dark ? MARK_LOOKS[DEATH].dark : MARK_LOOKS[DEATH].light;
  pen.setLineDash([4, 4]);
  const marks = data.laneMarks[0][DEATH];
  clusters(marks, i => {
    const px = x(marks.t[i]);
    pen.beginPath(); pen.moveTo(px, AXIS); pen.lineTo(px, view.height); pen.stroke();
  });
  pen.setLineDash([]);
}

function laneMarks(lane, y) {
  for (let m = 1; m < MARKS.length; m++) {
    const marks = data.laneMarks[lane][m];
    if (!marks.t.length) continue;
    clusters(marks, (i, next) => {
      const px = (x(marks.t[i]) + x(marks.t[next - 1])) / 2;
      shape(pen, m, px, y + LANE / 2);
      if (next - i > 1 && next - i < 1000) {
        pen.font = '9px system-ui, sans-serif';
        pen.fillStyle = theme.fore;
        pen.fillText(String(next - i), px + 5, y + 6);
        pen.font = '12px system-ui, sans-serif';
      }
    });
  }
  const row = view.chosen;
  if (row >= 0 && (data.service[row] + 1 === lane || (data.targets[row] || []).includes(lane - 1))) {
    pen.strokeStyle = theme.accent;
    pen.lineWidth = 2.5;
    pen.beginPath(); pen.arc(x(data.time[row]), y + LANE / 2, 11, 0, 7); pen.stroke();
    pen.lineWidth = 1;
  }
}

// shape draws a mark: each kind has its own, so that colour is not needed.
function shape(p, m, px, py) {
  const look = MARK_LOOKS[m], r = 6;
  p.fillStyle = p.strokeStyle = dark ? look.dark : look.light;
  const path = points => { p.beginPath(); points.forEach(([a, b], i) => i ? p.lineTo(px + a, py + b) : p.moveTo(px + a, py + b)); };
  const edged = () => { p.closePath(); p.lineWidth = 3; p.strokeStyle = theme.back; p.stroke(); p.fill(); };
  switch (look.shape) {
    case 'ring': p.lineWidth = 2; p.beginPath(); p.arc(px, py, 4, 0, 7); p.fillStyle = theme.back; p.fill(); p.stroke(); break;
    case 'square': path([[-5, -5], [5, -5], [5, 5], [-5, 5]]); edged(); break;
    case 'up': path([[0, -r], [r, r], [-r, r]]); edged(); break;
    case 'diamond': path([[0, -r - 1], [r + 1, 0], [0, r + 1], [-r - 1, 0]]); edged(); break;
    case 'house': path([[-r, -1], [0, -r - 2], [r, -1], [r, r], [-r, r]]); edged(); break;
    case 'bang': path([[-3, -r - 1], [3, -r - 1], [1.5, 2], [-1.5, 2]]); edged(); p.fillRect(px - 1.5, py + 4, 3, 3); break;
    case 'cross':
      for (const [width, colour] of [[5.5, theme.back], [2.8, dark ? look.dark : look.light]]) {
        p.lineWidth = width; p.strokeStyle = colour;
        p.beginPath(); p.moveTo(px - 5, py - 5); p.lineTo(px + 5, py + 5); p.moveTo(px + 5, py - 5); p.lineTo(px - 5, py + 5); p.stroke();
      }
      break;
    case 'block':
      path([[-r - 1, -r - 1], [r + 1, -r - 1], [r + 1, r + 1], [-r - 1, r + 1]]); edged();
      p.fillStyle = theme.back;
      p.fillRect(px - 1.2, py - 4.5, 2.4, 5.5);
      p.fillRect(px - 1.2, py + 2.4, 2.4, 2.4);
  }
  p.lineWidth = 1;
}

function legend() {
  const list = $('legend');
  list.replaceChildren();
  const item = (text, paint) => {
    const li = document.createElement('li'), sign = document.createElement('canvas');
    sign.width = sign.height = 20;
    sign.setAttribute('aria-hidden', 'true');
    paint(sign.getContext('2d'));
    li.append(sign, text);
    list.append(li);
  };
  for (const name of Object.keys(LOOKS)) item(name, p => { const l = LOOKS[name]; p.fillStyle = fill(l); const h = Math.max(3, 20 * l.high); p.fillRect(0, 10 - h / 2, 20, h); });
  item('many changes', p => { p.fillStyle = fill(MANY); p.fillRect(0, 5, 20, 10); });
  for (let m = 1; m < MARKS.length; m++) item(MARKS[m], p => shape(p, m, 10, 10));
}
