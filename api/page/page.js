// The status page: a client of the daemon's endpoint. Whatever comes from there is put
// into the document as text, never as markup.

const $ = id => document.getElementById(id);
const seconds = 1000, clusterEvery = 2 * seconds, recentEvery = 5 * seconds, whyEvery = 5 * seconds, historyEvery = 30 * seconds;
const silence = 35 * seconds; // The daemon says something every ten.
const hour = 3600 * seconds;

const state = {
  cluster: null, history: [], recent: new Map(), since: 0, caller: { reads: false, changes: false },
  token: sessionStorage.getItem('token') || '', connected: false, lostAt: null, headline: '', skew: 0,
};
// serverNow is the moment by the clocks of the servers, which samples and interruptions carry.
const serverNow = () => Date.now() - state.skew;

/* Elements */

function make(namespace, tag, attributes, children) {
  const e = document.createElementNS(namespace, tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'onclick') e.addEventListener('click', value);
    else e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
}
const el = (tag, attributes, ...children) => make('http://www.w3.org/1999/xhtml', tag, attributes, children);
const svg = (tag, attributes, ...children) => make('http://www.w3.org/2000/svg', tag, attributes, children);
const setText = (e, text) => { if (e.textContent !== text) e.textContent = text; };

/* Words */

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium', hour12: false });
const whole = n => n === undefined || n === null ? '' : Math.round(n).toLocaleString();
const few = n => n < 10 ? String(Math.round(n * 10) / 10) : whole(n);

function span(ms) {
  if (ms < 1000) return `${few(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  if (ms < 2 * 3600000) return `${Math.round(ms / 60000)} min`;
  return `${Math.round(ms / 3600000)} h`;
}

const levels = {
  good: ['open', 'in sync', 'following'],
  warn: ['catching up', 'opening', 'connecting', 'promoting', 'revoked', 'cloning', 'starting', 'standing', 'writes wait', 'unknown'],
};
const levelOf = s => levels.good.includes(s) ? 'good' : levels.warn.includes(s) ? 'warn' : 'bad';

const causes = { 'new-term': 'a new term', stall: 'commits that waited' };

/* The endpoint */

class Refusal extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

async function call(path, body, options) {
  const headers = {};
  if (state.token) headers.Authorization = `Bearer ${state.token}`;
  const request = { headers, cache: 'no-store', ...options };
  if (body !== undefined) Object.assign(request, { method: 'POST', body: JSON.stringify(body) });
  const response = await fetch(path, request);
  if (response.ok) return response;
  let detail = `${response.status} ${response.statusText}`;
  try { detail = (await response.json()).detail || detail; } catch { /* The status says it. */ }
  throw new Refusal(response.status, detail);
}
const get = async path => (await call(path, undefined, { signal: AbortSignal.timeout(8 * seconds) })).json();
const post = async (path, body) => (await call(path, body, { signal: AbortSignal.timeout(20 * seconds) })).json();

// keep does something over and over while the page is looked at, one at a time, and at
// once when asked to.
function keep(every, what) {
  let timer = 0, running = false, again = false;
  const run = async () => {
    clearTimeout(timer);
    if (running) { again = true; return; }
    running = true;
    try {
      do { again = false; await what(); } while (again);
    } catch (e) {
      if (e instanceof Refusal && (e.status === 401 || e.status === 403)) await whoAmI();
    } finally {
      running = false;
      if (!document.hidden) timer = setTimeout(run, every);
    }
  };
  document.addEventListener('visibilitychange', () => { if (!document.hidden) run(); });
  return run;
}

const cluster = keep(clusterEvery, async () => {
  state.cluster = await get('/v1/cluster');
  state.skew = Date.now() - Date.parse(state.cluster.at);
  showCluster();
});
const why = keep(whyEvery, async () => setText($('why'), (await get('/v1/why')).text));
const terms = keep(historyEvery, async () => { state.history = await get('/v1/history?limit=30'); showTerms(); });
const recent = keep(recentEvery, async () => {
  for (const r of await get(`/v1/recent?since=${state.since}`)) takeRecent(r);
  showRecent();
  if (state.cluster) showServers();
});

function takeRecent(r) {
  const known = state.recent.get(r.server) || { samples: [], interruptions: [] };
  const oldest = serverNow() - hour, last = known.samples.length ? known.samples[known.samples.length - 1].at_ms : 0;
  known.samples = known.samples.concat(r.samples.filter(s => s.at_ms > last)).filter(s => s.at_ms > oldest);
  for (const i of r.interruptions) {
    if (!known.interruptions.some(k => k.from === i.from)) known.interruptions.push(i);
  }
  state.recent.set(r.server, known);
  if (!r.problem && r.samples.length) state.since = Math.max(state.since, r.samples[r.samples.length - 1].at_ms - 3 * recentEvery);
}

// follow reads what changes, for as long as the daemon tells it, and asks again when it
// does not.
async function follow() {
  for (let pause = 250; ; pause = Math.min(2 * pause, 5 * seconds)) {
    const stop = new AbortController();
    let quiet = setTimeout(() => stop.abort(), silence);
    try {
      const response = await call('/v1/events', undefined, { signal: stop.signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(quiet);
        quiet = setTimeout(() => stop.abort(), silence);
        pause = 250;
        connected(true);
        rest += value;
        const events = rest.split('\n\n');
        rest = events.pop();
        for (const e of events) {
          const data = e.split('\n').find(line => line.startsWith('data: '));
          if (data) changed(JSON.parse(data.slice(6)));
        }
      }
    } catch (e) {
      if (e instanceof Refusal) await whoAmI();
    } finally {
      clearTimeout(quiet);
    }
    connected(false);
    await new Promise(done => setTimeout(done, pause));
  }
}

function changed(event) {
  state.event = event;
  showHeadline();
  for (const again of [cluster, why, terms, recent]) again();
}

function connected(now) {
  if (state.connected === now && (now || state.lostAt)) return;
  state.connected = now;
  state.lostAt = now ? null : state.lostAt || new Date();
  const c = $('connection');
  c.dataset.level = now ? 'good' : 'bad';
  setText(c, now ? 'live' : shutOut() ? 'not let in' : `not connected since ${clock.format(state.lostAt)}`);
  if (now) { cluster(); recent(); }
  showBanners();
  showHeadline();
}

// shutOut tells whether the endpoint is there and does not let this caller look.
const shutOut = () => state.caller.role !== undefined && !state.caller.reads;

async function whoAmI() {
  try {
    state.caller = await get('/v1/caller');
  } catch (e) {
    if (!(e instanceof Refusal)) return;
    state.token = '';
    sessionStorage.removeItem('token');
    state.caller = { reads: false, changes: false, problem: e.message };
  }
  const { name, role, changes, reads } = state.caller;
  setText($('who'), name ? `${role} ${name}` : reads ? 'reading' : 'nobody');
  setText($('sign'), state.token ? 'Sign out' : 'Sign in');
  $('controls').hidden = !changes;
  showBanners();
  if (state.cluster) showServers();
}

/* Showing */

function showCluster() {
  const c = state.cluster;
  setText($('cluster'), c.name);
  showHeadline();
  showBanners();
  showServers();
  showTopology();
  showFooter();
}

// headline says in a few words whether writes are served.
function headline() {
  const c = state.cluster, e = state.event;
  if (!c && !e) return shutOut() ? ['warn', 'Sign in to look'] : state.lostAt ? ['bad', 'Nothing is known'] : ['unknown', 'Asking the daemon …'];
  if (!state.connected) return ['bad', 'Not connected: this was so a while ago'];
  const stale = e ? e.stale : c.stale;
  if (stale) return ['warn', 'etcd cannot be reached from here: this may be old'];
  const record = c && c.record;
  const term = e ? e.term : record && record.term, primary = e ? e.primary : record && record.primary;
  if (!primary) return ['warn', 'The cluster has not begun'];
  const waiting = c && c.servers.find(s => s.state === 'writes wait');
  if (e && e.plan && !e.open) return ['bad', `${e.plan}: ${e.phase}${e.candidate ? `, ${e.candidate} is to take over` : ''}`];
  if (waiting) return ['warn', `Writes on ${waiting.name} wait for acknowledgements`];
  if (e ? e.open : c.servers.some(s => s.state === 'open')) return ['good', `${primary} takes writes in term ${term}`];
  return ['bad', `Nobody takes writes: term ${term} of ${primary} is not open`];
}

function showHeadline() {
  const [level, text] = headline();
  $('headline').dataset.level = level;
  setText($('headline'), text);
  document.title = `${level === 'good' ? '' : '⚠ '}${text} · ${state.cluster ? state.cluster.name : 'mysqlha'}`;
  if (text !== state.headline && state.headline !== '') setText($('spoken'), text);
  state.headline = text;
}

function showBanners() {
  const all = [], c = state.cluster;
  if (!state.caller.reads && state.caller.problem) all.push(['bad', state.caller.problem]);
  else if (shutOut()) all.push(['warn', 'This endpoint shows the cluster to those with a role: sign in with a token, or have the browser show a certificate.']);
  if (c && c.pause) {
    const until = c.pause.until ? `, until ${day.format(new Date(c.pause.until))}` : '';
    all.push(['warn', `The automation is paused${c.pause.by ? ` by ${c.pause.by}` : ''} since ${day.format(new Date(c.pause.since))}${until}: ${c.pause.reason}`, state.caller.changes && 'resume']);
  }
  if (c && c.record && c.record.suspended) all.push(['warn', `${c.record.primary} acknowledges writes alone: what it alone has is lost if it does not come back.`]);
  if (state.asked) all.push(state.asked);
  const key = JSON.stringify(all);
  if (key === state.banners) return;
  state.banners = key;
  $('banners').replaceChildren(...all.map(([level, text, action]) => el('p', { class: 'banner', 'data-level': level }, text,
    action === 'resume' ? el('button', { type: 'button', onclick: resume }, 'Resume …') : null,
    action === 'dismiss' ? el('button', { type: 'button', onclick: () => tell(null) }, 'Dismiss') : null)));
}

// tell says what came of something that was asked for here.
function tell(banner) {
  state.asked = banner;
  if (banner) setText($('spoken'), banner[1]);
  showBanners();
}

function lagOf(s) {
  if (s.role === 'primary' || !s.live || !s.live.lag_known) return '';
  return span(s.live.lag_ns / 1e6);
}

const rateOf = (name, what) => {
  const samples = (state.recent.get(name) || { samples: [] }).samples, last = samples[samples.length - 1];
  return last && serverNow() - last.at_ms < 4 * recentEvery ? last[what] : null;
};

const rows = new Map();
const columns = ['role', 'state', 'statements/s', 'writes/s', 'lag', 'daemon'];

function rowOf(name) {
  if (rows.has(name)) return rows.get(name);
  const cells = columns.map((label, i) => el('td', { role: 'cell', 'data-label': label, class: i > 1 && i < 5 ? 'number' : undefined }));
  const stateText = el('span'), trouble = el('span', { class: 'trouble' });
  cells[1].append(stateText, trouble);
  const move = el('button', { type: 'button', onclick: () => switchover(name) }, 'Make primary …');
  move.setAttribute('aria-label', `Make ${name} primary`);
  const row = { tr: el('tr', { role: 'row' }, el('th', { scope: 'row', role: 'rowheader' }, name), ...cells, el('td', { role: 'cell', class: 'actions' }, move)), cells, stateText, trouble, move };
  rows.set(name, row);
  return row;
}

function showServers() {
  const c = state.cluster, all = c.servers.map(s => {
    const r = rowOf(s.name);
    setText(r.cells[0], (s.role === 'none' ? '' : s.role) + (s.name === c.leader ? ', leads' : ''));
    r.stateText.dataset.level = levelOf(s.state);
    setText(r.stateText, s.state);
    const detail = s.status && s.status.detail || (s.errant ? `has transactions that the primary has not: ${s.errant}` : '');
    setText(r.trouble, levelOf(s.state) === 'good' ? '' : detail || s.live_error || '');
    setText(r.cells[2], whole(rateOf(s.name, 'questions')));
    setText(r.cells[3], whole(rateOf(s.name, 'writes')));
    setText(r.cells[4], lagOf(s));
    setText(r.cells[5], s.member ? s.version || 'runs' : 'does not run');
    r.move.hidden = !state.caller.changes || s.role !== 'replica';
    return r.tr;
  });
  const body = $('rows');
  if (all.length !== body.children.length || all.some((tr, i) => body.children[i] !== tr)) body.replaceChildren(...all);
}

/* The picture */

function showTopology() {
  const c = state.cluster, box = $('topology');
  const primary = c.servers.find(s => s.role === 'primary'), others = c.servers.filter(s => s !== primary);
  const narrow = box.clientWidth < 620;
  const w = narrow ? 330 : 330, h = 84, gap = 18, width = narrow ? 372 : 900;
  const height = narrow ? (primary ? h + gap : 0) + others.length * (h + gap) : Math.max(1, others.length) * (h + gap) - gap;
  const parts = [], at = new Map();
  const top = narrow ? 2 : (height - h) / 2;
  if (primary) at.set(primary.name, [2, top]);
  others.forEach((s, i) => at.set(s.name, narrow ? [primary ? 40 : 2, (primary ? h + gap : 0) + i * (h + gap) + 2] : [primary ? width - w - 2 : 2, i * (h + gap)]));
  const words = [];
  for (const s of others) {
    if (!primary) break;
    const kind = linkOf(s), [x, y] = at.get(s.name), [px, py] = at.get(primary.name);
    const path = narrow ? `M ${px + 19} ${py + h} V ${y + h / 2} H ${x}` : `M ${px + w} ${py + h / 2} C ${px + w + 110} ${py + h / 2}, ${x - 110} ${y + h / 2}, ${x} ${y + h / 2}`;
    parts.push(svg('path', { class: 'link', 'data-kind': kind, d: path }));
    words.push(`${s.name} ${kind === 'acknowledges' ? 'acknowledges its writes' : kind === 'follows' ? 'follows it' : 'does not receive from it'}`);
  }
  for (const s of c.servers) {
    const [x, y] = at.get(s.name), rate = rateOf(s.name, 'questions'), lag = lagOf(s);
    const facts = [rate === null ? '' : `${whole(rate)} statements/s`, lag && `lag ${lag}`].filter(Boolean).join(' · ');
    parts.push(svg('g', { class: 'node', 'data-server': s.name, 'data-role': s.role, 'data-level': levelOf(s.state), transform: `translate(${x} ${y})` },
      svg('rect', { width: w, height: h - 2, y: 1, rx: 10 }),
      svg('text', { class: 'name', x: 16, y: 28 }, s.name),
      svg('text', { class: 'small', x: w - 16, y: 28, 'text-anchor': 'end' }, (s.role === 'none' ? '' : s.role) + (s.name === c.leader ? ', leads' : '')),
      svg('text', { class: 'state', x: 16, y: 50 }, s.state),
      svg('text', { class: 'small', x: 16, y: 70 }, facts)));
  }
  const summary = primary ? `${primary.name} is primary and is ${primary.state}. ${words.join('. ')}.` : 'There is no primary.';
  box.replaceChildren(svg('svg', { viewBox: `0 0 ${width} ${Math.max(height + 4, h)}`, role: 'img', 'aria-label': summary }, ...parts),
    ...(c.witnesses || []).map(x => el('p', { class: 'faint' }, `${x.name} is a witness${x.name === c.leader ? ' and leads' : ''}${x.member ? '' : ', and does not run'}`)));
}

function linkOf(s) {
  if (!s.live || s.live.receiver !== 'ON') return 'broken';
  return s.in_sync && s.live.acks ? 'acknowledges' : 'follows';
}

/* The last hour */

function showRecent() {
  const now = serverNow(), names = [...state.recent.keys()].sort();
  const first = Math.min(now, ...names.flatMap(n => state.recent.get(n).samples.slice(0, 1).map(s => s.at_ms)));
  const from = Math.max(now - hour, Math.min(first, now - 5 * 60 * seconds));
  const gaps = names.flatMap(n => state.recent.get(n).interruptions.map(i => ({ ...i, server: n, from: Date.parse(i.from), to: Date.parse(i.to) }))).filter(i => i.to > from);
  const line = (what, title, unit, only) => chart(title, from, now, names.map((n, i) => ({ name: n, style: `s${i % 6}`,
    points: state.recent.get(n).samples.filter(s => s.at_ms >= from).map(s => [s.at_ms, s[what]]) })).filter(l => !only || l.points.some(p => p[1] !== undefined)), unit, gaps);
  $('charts').replaceChildren(
    strip(from, now, gaps),
    line('questions', 'Statements a second', '', false),
    line('writes', 'Writes a second', '', false),
    line('lag_ms', 'Lag of replicas', ' ms', true));
}

const nice = n => { const p = 10 ** Math.floor(Math.log10(n)); return [1, 2, 5, 10].find(f => f * p >= n) * p; };

function chart(title, from, to, lines, unit, gaps) {
  const width = 600, height = 80, values = lines.flatMap(l => l.points.map(p => p[1] || 0)), most = nice(Math.max(1, ...values));
  const x = t => (t - from) / (to - from) * width, y = v => height - 2 - v / most * (height - 6);
  const path = points => {
    let d = '', last = 0;
    for (const [t, v] of points) {
      if (v === undefined || v === null) { last = 0; continue; }
      d += `${t - last > 4 * recentEvery ? 'M' : 'L'}${x(t).toFixed(1)} ${y(v).toFixed(1)}`;
      last = t;
    }
    return d;
  };
  const now = l => { const p = l.points.filter(p => p[1] !== undefined && p[1] !== null).pop(); return p ? `${few(p[1])}${unit}` : 'unknown'; };
  return el('div', { class: 'chart' }, el('h3', {}, title),
    svg('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title} since ${clock.format(from)}: up to ${whole(Math.max(0, ...values))}${unit}` },
      svg('rect', { class: 'frame', width, height }),
      ...gaps.map(g => svg('rect', { class: 'gap', x: x(g.from), width: Math.max(1.5, x(g.to) - x(g.from)), y: 0, height })),
      ...lines.map(l => svg('path', { class: l.style, d: path(l.points) }))),
    el('p', {}, ...lines.flatMap(l => [el('span', { class: `swatch ${l.style}`, 'aria-hidden': 'true' }), `${l.name} ${now(l)}`]), `  (scale 0 to ${whole(most)}${unit})`));
}

function strip(from, to, gaps) {
  const width = 600, total = gaps.reduce((sum, g) => sum + g.to - g.from, 0);
  const says = gaps.length ? `Writes were interrupted ${gaps.length === 1 ? 'once' : `${gaps.length} times`} since ${clock.format(from)}, for at most ${span(total)} in all: ` +
    gaps.slice(-5).map(g => `${clock.format(g.to)} by ${causes[g.cause] || g.cause}, at most ${span(g.to - g.from)}`).join('; ') + '.'
    : `Writes were not interrupted since ${clock.format(from)}, as far as is known.`;
  return el('div', { class: 'chart' }, el('h3', {}, 'Writes'),
    svg('svg', { viewBox: `0 0 ${width} 14`, preserveAspectRatio: 'none', role: 'img', 'aria-label': says }, svg('rect', { class: 'frame', width, height: 14 }),
      ...gaps.map(g => svg('rect', { class: 'gap', x: (g.from - from) / (to - from) * width, width: Math.max(2, (g.to - g.from) / (to - from) * width), y: 0, height: 14 }))),
    el('p', { id: 'interruptions' }, says));
}

/* Terms */

function showTerms() {
  const key = state.history.map(h => h.plan.id).join();
  if (key === state.termsShown) return;
  state.termsShown = key;
  $('terms').replaceChildren(...state.history.map(termOf));
}

function termOf(h) {
  const p = h.plan, marks = (p.marks || []).map(m => ({ name: m.name, at: Date.parse(m.at) })), done = h.result === 'completed';
  const level = p.lost ? 'bad' : !done ? 'warn' : 'good';
  const took = marks.length > 1 ? marks[marks.length - 1].at - marks[0].at : 0;
  const phases = marks.slice(0, -1).map((m, i) => ({ name: m.name, ms: marks[i + 1].at - m.at }));
  const bar = el('div', { class: 'phases', 'aria-hidden': 'true' }, ...phases.map(f => { const e = el('span', { title: `${f.name} ${span(f.ms)}` }); e.style.flexGrow = Math.max(f.ms, 0.001); return e; }));
  const who = p.kind === 'failover' || p.kind === 'switchover' ? `${p.from} → ${h.primary}` : p.server || h.primary || '';
  const facts = [p.evidence, p.trouble, h.in_sync && h.in_sync.length ? `in sync: ${h.in_sync.join(', ')}` : '', p.leader ? `led by ${p.leader}` : '',
    h.complete === false && p.kind === 'failover' ? 'it may lack what was acknowledged' : '', p.lost ? `lost: ${p.lost}` : ''].filter(Boolean);
  return el('li', { 'data-level': level, 'data-kind': p.kind, 'data-plan': p.id, 'data-times': phases.map(f => `${f.name}=${f.ms}`).join(' ') },
    el('strong', {}, `${p.kind} ${who}`.trim()), ` in term ${h.term}: ${h.result}${p.reason ? `, ${p.reason}` : ''}`,
    el('div', { class: 'faint' }, marks.length ? el('time', { datetime: new Date(marks[0].at).toISOString() }, day.format(marks[0].at)) : '', took ? ` · ${span(took)}` : ''),
    took ? bar : null,
    took ? el('div', { class: 'faint' }, phases.map(f => `${f.name} ${span(f.ms)}`).join(' · ')) : null,
    facts.length ? el('details', {}, el('summary', {}, 'Evidence'), ...facts.map(f => el('p', { class: 'faint' }, f))) : null);
}

function showFooter() {
  const c = state.cluster, links = c.servers.filter(s => s.api && s.name !== c.self).map(s => [s.name, s.api]);
  const key = JSON.stringify([c.self, c.version, links]);
  if (key === state.footer) return;
  state.footer = key;
  $('footer').replaceChildren(`Told by ${c.self}${c.version ? `, mysqlhad ${c.version}` : ''}. The same page: `,
    ...links.flatMap(([name, api], i) => [i ? ', ' : '', el('a', { href: `https://${api}/` }, name)]), '. ', el('a', { href: '/metrics' }, 'Metrics'), ', ', el('a', { href: '/v1/openapi.json' }, 'API'), '.');
}

/* Asking for changes */

let asking = null;

function ask({ title, text, fields = [], yes, submit }) {
  asking = { fields, submit };
  setText($('ask-title'), title);
  setText($('ask-text'), text);
  setText($('ask-yes'), yes);
  setText($('ask-problem'), '');
  $('ask-yes').disabled = false;
  $('ask-fields').replaceChildren(...fields.map(f => el('label', {}, f.label, el('input', { name: f.name, type: f.type || 'text', value: f.value, required: f.required, autocomplete: 'off', maxlength: 500 }))));
  $('ask').showModal();
}

$('ask-no').addEventListener('click', () => $('ask').close());
$('ask').addEventListener('close', () => { asking = null; $('ask-fields').replaceChildren(); });
$('ask').querySelector('form').addEventListener('submit', async event => {
  event.preventDefault();
  const mine = asking, values = {};
  if (!mine) return;
  for (const f of mine.fields) values[f.name] = $('ask-fields').querySelector(`[name=${f.name}]`).value.trim();
  $('ask-yes').disabled = true;
  try {
    await mine.submit(values);
    if (asking === mine) $('ask').close();
  } catch (e) {
    if (asking === mine) setText($('ask-problem'), e.message);
    $('ask-yes').disabled = false;
  }
});

function switchover(to) {
  const from = state.cluster.record.primary;
  ask({
    title: `Make ${to} primary?`, yes: `Move writes to ${to}`,
    text: `${from} lets open transactions go on for at most the time below, ends its sessions and closes; ${to} takes over, and no acknowledged write is lost. Applications wait for that moment or connect anew.`,
    fields: [{ name: 'drain', label: 'Open transactions may go on for (seconds)', type: 'number', value: '1', required: true }],
    submit: async ({ drain }) => {
      const wait = Number(drain), id = randomId();
      if (!(wait >= 0 && wait <= 3600)) throw new Error('Write a number of seconds from 0 to 3600.');
      await post('/v1/switchover', { id, to, drain_ns: Math.round(wait * 1e9) });
      tell(['warn', `A switchover to ${to} was asked for.`]);
      cameOf(id, to, Date.now() + (wait + 60) * seconds);
    },
  });
}

function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map(b => b.toString(16).padStart(2, '0')).join('');
}

// cameOf watches for the entry of the history that answers a request.
async function cameOf(id, to, until) {
  for (;;) {
    try {
      state.history = await get('/v1/history?limit=30');
      const entry = state.history.find(h => h.plan.request === id);
      if (entry) {
        showTerms();
        tell(entry.result === 'completed' ? ['good', `${to} is primary in term ${entry.term}.`, 'dismiss'] : ['bad', `The switchover to ${to}: ${entry.result}.`, 'dismiss']);
        return;
      }
    } catch { /* It is asked again. */ }
    if (Date.now() > until) {
      tell(['warn', `The switchover to ${to} was asked for, and nobody has answered yet. “Why” may say what it waits for.`, 'dismiss']);
      return;
    }
    await new Promise(done => setTimeout(done, 500));
  }
}

$('pause').addEventListener('click', () => ask({
  title: 'Pause the automation?', yes: 'Pause',
  text: 'The primary stays where it is, even if it dies, until somebody resumes or moves it by hand. It still closes itself where it is cut off.',
  fields: [{ name: 'reason', label: 'Reason, shown to everybody', required: true }, { name: 'minutes', label: 'For how many minutes (empty: until resumed)', type: 'number' }],
  submit: async ({ reason, minutes }) => {
    if (minutes !== '' && !(Number(minutes) > 0)) throw new Error('Write a number of minutes, or nothing.');
    await post('/v1/pause', { reason, for_ns: Math.round(Number(minutes) * 60e9) });
    cluster();
  },
}));

function resume() {
  ask({ title: 'Resume the automation?', yes: 'Resume', text: 'A primary that is dead is replaced from now on, at once if it is dead already.', submit: async () => { await post('/v1/resume', {}); cluster(); } });
}

$('sign').addEventListener('click', async () => {
  if (state.token) {
    state.token = '';
    sessionStorage.removeItem('token');
    await whoAmI();
    return;
  }
  ask({
    title: 'Sign in', yes: 'Sign in', text: 'With a token (mysqlha token new), kept until this tab is closed. A client certificate that the browser shows needs no signing in.',
    fields: [{ name: 'token', label: 'Token', type: 'password', required: true }],
    submit: async ({ token }) => {
      state.token = token;
      try {
        state.caller = await get('/v1/caller');
      } catch (e) {
        state.token = '';
        throw e;
      }
      sessionStorage.setItem('token', token);
      await whoAmI();
      for (const again of [cluster, why, terms, recent]) again();
    },
  });
});

/* Beginning */

for (const t of document.querySelectorAll('table, thead, tbody, tr, thead th')) {
  t.setAttribute('role', { TABLE: 'table', THEAD: 'rowgroup', TBODY: 'rowgroup', TR: 'row', TH: 'columnheader' }[t.tagName]);
}
new ResizeObserver(() => { if (state.cluster) showTopology(); }).observe($('topology'));

whoAmI();
cluster(); why(); terms(); recent();
follow();
