// The records, unpacked from the columns that are in the page.

const $ = id => document.getElementById(id);

const MARKS = ['', 'end', 'configuration', 'command', 'trouble', 'gap', 'supd died', 'crash', 'gave up'];
const PLAIN = 1, DEATH = 6; // what is picked and has no mark of its own is drawn as an end is

async function unpack(id) {
  const text = atob($(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(plain).text());
}

// sums turns steps into values; µs become ms.
function sums(steps, start, scale) {
  const values = new Float64Array(steps.length);
  let at = start;
  for (let i = 0; i < steps.length; i++) { at += steps[i]; values[i] = at / scale; }
  return values;
}

let data; // everything, by row or by lane

async function load() {
  const p = await unpack('columns');
  for (const key of Object.keys(p)) p[key] ??= []; // a journal without records
  p.time = sums(p.time, p.meta.start, 1000);
  p.seq = sums(p.seq, 0, 1);
  for (const o of p.output) { o.time = sums(o.time || [], p.meta.start, 1000); o.stream ||= []; o.text ||= []; }
  for (const key of ['kind', 'service', 'actor', 'cause', 'mark']) p[key] = Int32Array.from(p[key]);
  p.start = p.time.length ? p.time[0] : Date.now();
  p.end = p.time.length ? p.time[p.time.length - 1] : p.start;
  // Lane 0 is that of supd itself.
  p.names = ['supd', ...p.services];
  p.bars = [{ t: new Float64Array(0), row: [], phase: [] }];
  for (const l of p.lanes) {
    const row = Int32Array.from(l.row || []);
    p.bars.push({ row, phase: Int32Array.from(l.phase || []), t: Float64Array.from(row, r => p.time[r]) });
  }
  data = p;
  sift();
}

// What is marked: everything that has a mark, or every record of a kind or a
// group of kinds, by an actor.
const pick = { kind: '', actor: '' };

function picked(row) {
  const kind = data.kinds[data.kind[row]];
  return (!pick.kind || kind === pick.kind || kind.split('.')[0] === pick.kind) && (!pick.actor || data.actors[data.actor[row]] === pick.actor);
}

// sift finds the marks, and those of each lane by how grave they are: rows and
// their times.
function sift() {
  const all = pick.kind || pick.actor, rows = [];
  const found = data.names.map(() => MARKS.map(() => []));
  for (let i = 0; i < data.mark.length; i++) {
    const m = data.mark[i] || (all ? PLAIN : 0);
    if (!m || all && !picked(i)) continue;
    rows.push(i);
    found[data.service[i] + 1][m].push(i);
    for (const s of data.targets[i] || []) found[s + 1][m].push(i);
  }
  data.marks = Int32Array.from(rows);
  data.laneMarks = found.map(by => by.map(rows => ({ row: Int32Array.from(rows), t: Float64Array.from(rows, r => data.time[r]) })));
}

const chunks = new Map(); // unpacked stored records, few at a time

async function stored(row) {
  const n = Math.floor(row / data.meta.chunk);
  if (!chunks.has(n)) {
    if (chunks.size > 8) chunks.clear();
    chunks.set(n, unpack('rows-' + n));
  }
  return (await chunks.get(n))[row - n * data.meta.chunk];
}

// first is the index of the first value that is not less.
function first(values, x, from = 0) {
  let lo = from, hi = values.length;
  while (lo < hi) { const mid = (lo + hi) >> 1; if (values[mid] < x) lo = mid + 1; else hi = mid; }
  return lo;
}

// isRecord tells records from findings, whose kinds have no group.
const isRecord = row => data.kinds[data.kind[row]].includes('.');
const kindOf = row => data.kinds[data.kind[row]];
const nameOf = row => data.service[row] < 0 ? '' : data.services[data.service[row]];

let utc = true;
const two = n => String(n).padStart(2, '0');

function parts(ms) {
  const d = new Date(ms);
  return utc
    ? [d.getUTCFullYear(), d.getUTCMonth() + 1, d.getUTCDate(), d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds(), d.getUTCMilliseconds()]
    : [d.getFullYear(), d.getMonth() + 1, d.getDate(), d.getHours(), d.getMinutes(), d.getSeconds(), d.getMilliseconds()];
}
const day = ms => { const p = parts(ms); return `${p[0]}-${two(p[1])}-${two(p[2])}`; };
const clock = ms => { const p = parts(ms); return `${two(p[3])}:${two(p[4])}:${two(p[5])}.${String(p[6]).padStart(3, '0')}`; };

function span(ms) {
  if (ms < 1000) return ms.toFixed(ms < 10 ? 1 : 0) + ' ms';
  if (ms < 120e3) return (ms / 1000).toFixed(1) + ' s';
  if (ms < 7200e3) return (ms / 60e3).toFixed(1) + ' min';
  if (ms < 172800e3) return (ms / 3600e3).toFixed(1) + ' h';
  return (ms / 86400e3).toFixed(1) + ' d';
}

// line is a row in a few words.
function line(row) {
  const number = isRecord(row) ? '#' + data.seq[row] + ' ' : '';
  const word = MARKS[data.mark[row]];
  return `${clock(data.time[row])} ${number}${nameOf(row) || 'supd'}  ${word ? word + ': ' : ''}${kindOf(row)}  ${data.text[row]}`;
}
