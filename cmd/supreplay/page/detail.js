// One record with what led to it, what it led to, and the output around it.
// Everything is put in as text: records and output may hold anything.

const FEW = 25;
let opened = -1, opener = null;

function element(name, text, kind) {
  const e = document.createElement(name);
  e.textContent = text;
  if (kind) e.className = kind;
  return e;
}

function rowButton(row) {
  const li = document.createElement('li'), b = element('button', line(row));
  b.addEventListener('click', () => { choose(row); open(row); });
  li.append(b);
  return li;
}

async function open(row) {
  if (opened < 0) opener = document.activeElement;
  opened = row;
  const t = data.time[row];
  $('detail-title').textContent = `${isRecord(row) ? 'Record ' + data.seq[row] : 'Finding'}: ${kindOf(row)}`;
  const actor = data.actors[data.actor[row]];
  $('detail-text').textContent = [nameOf(row), data.text[row], `${day(t)} ${clock(t)} ${utc ? 'UTC' : 'local'}`, actor && 'by ' + actor].filter(Boolean).join(' — ');
  causes(row);
  effects(row);
  written(row);
  $('before').disabled = row === 0;
  $('after').disabled = row === data.time.length - 1;
  $('detail').hidden = false;
  $('detail').scrollTop = 0;
  $('detail-title').focus();
  $('json').textContent = '…';
  const text = await stored(row);
  if (opened === row) $('json').textContent = pretty(text);
}

// pretty sets the stored text in lines and changes nothing in it: a number may
// have more digits than a script's own numbers keep.
function pretty(text) {
  if (!text) return 'None: this is what supreplay found in the place of records.';
  let made = '', deep = 0;
  const begin = () => '\n' + '  '.repeat(Math.max(0, deep));
  for (const [part] of text.matchAll(/"(?:[^"\\]|\\.)*"?|[{}[\],:]|[^"{}[\],:\s]+/gs)) {
    const empty = /[{[]$/.test(made);
    if (part === '}' || part === ']') { deep--; made += (empty ? '' : begin()) + part; continue; }
    if (empty) made += begin();
    made += part;
    if (part === '{' || part === '[') deep++;
    else if (part === ',') made += begin();
    else if (part === ':') made += ' ';
  }
  return made;
}

function shut() {
  if (opened < 0) return false;
  opened = -1;
  $('detail').hidden = true;
  (opener && opener.isConnected && opener !== document.body ? opener : canvas).focus();
  return true;
}

function causes(row) {
  const list = $('causes');
  list.replaceChildren();
  let at = row;
  for (let n = 0; n < 200 && data.cause[at] >= 0; n++) { at = data.cause[at]; list.append(rowButton(at)); }
  if (data.cause[at] === -2) list.append(element('li', ' something that is not in this page'));
  else if (at === row) list.append(element('li', ' nothing in the journal: it came from outside'));
}

function effects(row) {
  const list = $('effects');
  list.replaceChildren();
  let n = 0;
  for (let i = row + 1; i < data.cause.length; i++) {
    if (data.cause[i] !== row) continue;
    if (++n <= FEW) list.append(rowButton(i));
  }
  if (n > FEW) list.append(element('li', `and ${n - FEW} more`));
  if (n === 0) list.append(element('li', 'Nothing that names it as its cause.'));
}

function written(row) {
  const list = $('written');
  list.replaceChildren();
  const lanes = data.service[row] >= 0 ? [data.service[row]] : (data.targets[row] || []).slice(0, 5);
  const t = data.time[row];
  for (const lane of lanes) {
    const o = data.output[lane];
    const from = Math.max(first(o.time, t - 2000), first(o.time, t + 0.001) - FEW);
    const to = Math.min(first(o.time, t + 1000), first(o.time, t + 0.001) + FEW);
    if (from >= to) continue;
    if (lanes.length > 1) list.append(element('li', data.services[lane], 'here'));
    let passed = false;
    for (let i = from; i < to; i++) {
      if (!passed && o.time[i] > t) { passed = true; list.append(element('li', `${clock(t)} ${kindOf(row)}`, 'here')); }
      list.append(element('li', `${clock(o.time[i])} ${o.stream[i] ? 'stderr' : 'stdout'}| ${printable(o.text[i])}`, o.stream[i] ? 'err' : ''));
    }
    if (!passed) list.append(element('li', `${clock(t)} ${kindOf(row)}`, 'here'));
  }
  if (!list.children.length) list.append(element('li', 'None in this page.'));
}

// printable shows control characters, and what turns the direction of text, as
// dots: a line must not look like another one.
const printable = text => text.replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, '·');
