"use strict";
// What the stream says (see edc/page/__init__.py), shown. Names of feeds, symbols and files are
// strangers' text: they go into textContent and into attributes' values, never into markup.

const MOST_POINTS = 120;
const STAGES = {
  receive: "vendor to receipt", queue: "receipt to queue",
  spool: "receipt to disk", lake: "disk to lake",
};
const STATES = {
  live: "good", listening: "good", connected: "warn", connecting: "warn", waiting: "warn",
  starting: "warn", failed: "bad",
};
let points = [];
let latest = null;
let digest = null;
let heard = 0;

// How many points the drawings hold: two minutes at first, ten at most.
const window_ = () => Math.min(MOST_POINTS, Math.max(24, points.length + 1));

const byId = (id) => document.getElementById(id);

// ---- numbers and times

function count(value) {
  return value.toLocaleString("en", { maximumFractionDigits: 0 });
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const size = Math.abs(seconds);
  const [factor, unit] = size >= 1 ? [1, "s"] : size >= 1e-3 ? [1e3, "ms"] : [1e6, "µs"];
  return `${Number((seconds * factor).toPrecision(3)).toLocaleString("en")} ${unit}`;
}

function span(seconds) {
  if (seconds < 60) return duration(seconds);
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

function clock(ms, seconds = true) {
  const form = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: latest.timezone };
  if (seconds) form.second = "2-digit";
  return new Intl.DateTimeFormat("en-GB", form).format(ms);
}

// ---- elements

function set(element, text, kind) {
  if (element.textContent !== text) element.textContent = text;
  if (kind !== undefined && element.dataset.kind !== kind) {
    element.classList.remove("good", "warn", "bad");
    if (kind) element.classList.add(kind);
    element.dataset.kind = kind;
  }
}

function svg(name, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
}

// The rows of a table's body, kept while their key stays, so that nothing under a reader jumps.
function rows(table, keys, columns, make) {
  const body = byId(table).tBodies[0];
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  keys.forEach((key, place) => {
    let row = old.get(key);
    old.delete(key);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.key = key;
      columns.forEach((name, number) => {
        const cell = document.createElement(number ? "td" : "th");
        if (!number) cell.scope = "row";
        if (name) cell.className = name;
        row.append(cell);
      });
      if (make) make(row);
    }
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] || null);
  });
  for (const row of old.values()) row.remove();
  return [...body.rows];
}

function none(table, text) {
  const [row] = rows(table, ["none"], ["none"]);
  row.cells[0].colSpan = byId(table).tHead.rows[0].cells.length;
  set(row.cells[0], text);
}

// ---- the parts of the page

function showHead(now) {
  set(byId("place"), `${now.path} · instance ${now.instance} · up ${span((now.now - now.started) / 1e9)}`);
  const wrong = Object.entries(now.checks).filter(([, fine]) => !fine).map(([name]) => name);
  set(byId("health"), wrong.length ? "not ready" : "ready", wrong.length ? "bad" : "good");
  const problems = Object.entries(now.tables).flatMap(([kind, table]) =>
    Object.entries(table.problems).map(([stage, why]) => `${kind}, ${stage}: ${why}`));
  if (now.compaction.problem) problems.push(`compaction: ${now.compaction.problem}`);
  const why = [...wrong.map((name) => `not ready: ${name}`), ...problems].join(" · ");
  set(byId("why"), why);
  byId("why").hidden = !why;
  document.title = `${wrong.length ? "✗ " : ""}edc ${now.instance}`;
  set(byId("version"), `edc ${now.version} · times in ${now.timezone}`);
}

function worst(now, name) {
  const values = now.feeds.map((feed) => feed.latency_seconds.receive.minute[name])
    .filter((value) => value !== null);
  return values.length ? Math.max(...values) : null;
}

function showNow(now) {
  const tables = Object.values(now.tables);
  set(byId("now-rate"), count(now.feeds.reduce((sum, feed) => sum + feed.rate, 0)));
  set(byId("now-p50"), duration(worst(now, "p50")));
  set(byId("now-p99"), duration(worst(now, "p99")));
  const fullest = Math.max(0, ...tables.map((table) => table.queued / table.capacity));
  set(byId("now-queue"), `${(100 * fullest).toFixed(fullest < 0.1 ? 1 : 0)} %`);
  set(byId("now-rows"), count(tables.reduce((sum, table) => sum + table.written, 0)));
  set(byId("now-gaps"), count(now.gaps.length));
}

function spark(drawing, name, rate) {
  const values = points.map((point) => point.feeds[name] ? point.feeds[name].rate : null);
  values.push(rate);
  const known = values.filter((value) => value !== null);
  const top = Math.max(1, ...known);
  const x = (place) => 120 * (1 - (values.length - 1 - place) / window_());
  const steps = [];
  values.forEach((value, place) => {
    if (value === null) return;
    const pen = place && values[place - 1] !== null ? "L" : "M";
    steps.push(`${pen}${x(place).toFixed(1)} ${(23 - 21 * value / top).toFixed(1)}`);
  });
  const line = steps.join("");
  const first = values.findIndex((value) => value !== null);
  drawing.querySelector(".line").setAttribute("d", line);
  const whole = known.length === values.length - first;
  drawing.querySelector(".under").setAttribute(
    "d", whole ? `${line}L${x(values.length - 1).toFixed(1)} 24L${x(first).toFixed(1)} 24Z` : "");
  drawing.setAttribute("aria-label",
    `from ${count(Math.min(...known))} to ${count(top)} events a second, now ${count(rate)}`);
}

function showFeeds(now) {
  const columns = ["", "", "number", "", "number", "number", "number less", "number less", "less"];
  const keys = now.feeds.flatMap((feed) => {
    const said = trouble(feed);
    return said ? [`feed ${feed.feed}`, `trouble ${feed.feed}`] : [`feed ${feed.feed}`];
  });
  const known = new Map(now.feeds.map((feed) => [feed.feed, feed]));
  if (!keys.length) return none("feed-table", "There are no feeds: this daemon only stores.");
  for (const row of rows("feed-table", keys, columns, newFeedRow)) {
    const [, kind, name] = row.dataset.key.match(/^(feed|trouble) ([^]*)$/);
    const feed = known.get(name);
    if (kind === "trouble") {
      set(row.cells[0], trouble(feed));
      continue;
    }
    const late = feed.latency_seconds.receive.minute;
    const state = feed.market_open || feed.state === "failed" ? feed.state : `${feed.state} (closed)`;
    set(row.cells[0], feed.feed);
    set(row.cells[1].firstChild, state, feed.market_open ? STATES[feed.state] || "" : "");
    row.cells[1].title = feed.market_open ? "" : "its market is closed: silence is right";
    set(row.cells[2], count(feed.rate));
    spark(row.cells[3].firstChild, feed.feed, feed.rate);
    set(row.cells[4], duration(late.p50));
    set(row.cells[5], duration(late.p99));
    set(row.cells[6], duration(feed.clock_skew_seconds));
    set(row.cells[7], feed.last_event ? clock(feed.last_event / 1e6) : "–");
    set(row.cells[8], feed.source);
  }
}

function newFeedRow(row) {
  if (row.dataset.key.startsWith("trouble ")) {
    row.className = "trouble";
    const said = document.createElement("td");
    said.colSpan = 9;
    row.replaceChildren(said);
    return;
  }
  row.cells[1].append(document.createElement("span"));
  row.cells[1].firstChild.className = "state";
  const drawing = svg("svg", { viewBox: "0 0 120 24", preserveAspectRatio: "none", role: "img" });
  drawing.classList.add("spark");
  svg("path", { class: "under" }, drawing);
  svg("path", { class: "line" }, drawing);
  row.cells[3].append(drawing);
}

function trouble(feed) {
  const refused = Object.entries(feed.refused).map(([symbol, why]) => `${symbol}: ${why}`);
  const more = refused.length > 5 ? [`and ${refused.length - 5} more symbols`] : [];
  return [feed.problem, ...refused.slice(0, 5), ...more].filter(Boolean).join(" · ");
}

function choose(now) {
  const select = byId("which-feed");
  const names = now.feeds.map((feed) => feed.feed);
  if (JSON.stringify(names) !== JSON.stringify([...select.options].map((option) => option.value))) {
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(before)) select.value = before;
  }
  return select.value;
}

function showLatency(now) {
  const name = choose(now);
  const feed = now.feeds.find((each) => each.feed === name);
  if (!feed) return none("stage-table", "There are no feeds.");
  const columns = ["", ...Array(7).fill("number")];
  for (const row of rows("stage-table", Object.keys(STAGES), columns)) {
    const minute = feed.latency_seconds[row.dataset.key].minute;
    set(row.cells[0], STAGES[row.dataset.key]);
    set(row.cells[1], count(minute.count));
    ["least", "p50", "p90", "p99", "p99.9", "max"].forEach((part, place) =>
      set(row.cells[place + 2], duration(minute[part])));
  }
  drawLatency(name, byId("which-stage").value);
}

// On a logarithmic scale, where what is not positive has no place: it is shown at the bottom.
function drawLatency(name, stage) {
  const chart = byId("latency-chart");
  const { width, height } = chart.getBoundingClientRect();
  if (!width) return;
  const [left, right, top, bottom] = [54, width - 6, 10, height - 22];
  const span_ = points.map((point) => [point.t, (point.feeds[name] || {})[stage]]);
  const values = span_.flatMap(([, pair]) => pair || []).filter((value) => value > 0);
  const high = Math.ceil(Math.log10(Math.max(1e-3, ...values)) + 1e-9);
  const low = Math.min(high - 2, Math.floor(Math.log10(Math.min(1, ...values))));
  const minutes = window_() / 12, end = latest.now / 1e6, begin = end - minutes * 60000;
  const x = (t) => left + (right - left) * (t - begin) / (end - begin);
  const y = (value) => {
    const part = (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
    return bottom - (bottom - top) * part;
  };
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.replaceChildren();
  for (let power = low; power <= high; power += 1) {
    const at = y(10 ** power);
    svg("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }, chart);
    svg("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, chart).textContent = duration(10 ** power);
  }
  const step = minutes > 5 ? (width < 500 ? 4 : 2) : 1;
  for (let minute = 0; minute <= minutes; minute += step) {
    const at = x(end - minute * 60000);
    const anchor = !minute ? "end" : at < left + 24 ? "start" : "middle";
    svg("text", { x: at, y: height - 4, "text-anchor": anchor }, chart)
      .textContent = minute ? `${minute} min ago` : "now";
  }
  ["p50", "p99"].forEach((part, place) => {
    let pen = "M";
    const line = span_.map(([t, pair]) => {
      if (!pair || t < begin) { pen = "M"; return ""; }
      const to = `${pen}${x(t).toFixed(1)} ${y(pair[place]).toFixed(1)}`;
      pen = "L";
      return to;
    }).join("");
    svg("path", { class: part, d: line }, chart);
  });
  const last = span_.findLast(([, pair]) => pair);
  set(byId("latency-says"), last
    ? `${name}, ${STAGES[stage]}, at ${clock(last[0])}: p50 ${duration(last[1][0])}, p99 ${duration(last[1][1])}`
    : `${name}, ${STAGES[stage]}: nothing was measured in the last ten minutes`);
}

function showTables(now) {
  const columns = ["", "less", ...Array(5).fill("number")];
  const make = (row) => row.cells[1].append(document.createElement("meter"));
  for (const row of rows("lane-table", Object.keys(now.tables), columns, make)) {
    const table = now.tables[row.dataset.key];
    const meter = row.cells[1].firstChild;
    Object.assign(meter, { min: 0, max: table.capacity, low: table.capacity / 2, high: table.capacity * 0.9, optimum: 0, value: table.queued });
    meter.setAttribute("aria-label", `queue of ${row.dataset.key}`);
    set(row.cells[0], row.dataset.key);
    set(row.cells[2], `${count(table.queued)} of ${count(table.capacity)}`);
    set(row.cells[3], count(table.spooled));
    set(row.cells[4], count(table.written));
    set(row.cells[5], count(table.duplicates));
    set(row.cells[6], count(table.dropped));
    row.cells[6].classList.toggle("bad", table.dropped > 0);
  }
}

function showGaps(now) {
  const { day, gaps } = now;
  const open = gaps.filter((gap) => gap.state !== "filled");
  set(byId("gaps-say"), gaps.length
    ? `${count(gaps.length)} since midnight, ${count(open.length)} not filled`
    : "none since midnight");
  drawGaps(day, gaps, now);
  if (!gaps.length) return none("gap-table", "No gaps today.");
  const shown = gaps.slice(-100).reverse();
  const keys = shown.map((gap) => JSON.stringify([gap.feed, gap.cause, gap.started, gap.ended, gap.symbol]));
  const columns = ["", "", "", "number", "number", "", ""];
  rows("gap-table", keys, columns).forEach((row, place) => {
    const gap = shown[place];
    set(row.cells[0], gap.feed || "–");
    set(row.cells[1], gap.cause);
    set(row.cells[2], clock(gap.started));
    set(row.cells[3], span((gap.ended - gap.started) / 1000));
    set(row.cells[4], gap.rows === null ? "–" : count(gap.rows));
    set(row.cells[5], gap.state);
    set(row.cells[6], gap.symbol || "–");
  });
}

function drawGaps(day, gaps, now) {
  const chart = byId("gap-chart");
  const width = chart.getBoundingClientRect().width;
  if (!width) return;
  const feeds = [...new Set([...now.feeds.map((feed) => feed.feed), ...gaps.map((gap) => gap.feed || "–")])];
  const left = Math.min(150, width * 0.28), lane = 22, top = 4, height = top + lane * feeds.length + 20;
  const x = (t) => left + (width - left - 8) * Math.min(1, Math.max(0, (t - day.start) / (day.end - day.start)));
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.setAttribute("height", height);
  chart.replaceChildren();
  feeds.forEach((name, place) => {
    const y = top + lane * place;
    const label = svg("text", { x: 0, y: y + 13 }, chart);
    const most = Math.floor(left / 7);
    label.textContent = name.length > most ? `${name.slice(0, most - 1)}…` : name;
    svg("rect", { class: "lane", x: left, y: y + 4, width: x(now.now / 1e6) - left, height: 10, rx: 2 }, chart);
  });
  for (const gap of gaps) {
    const y = top + lane * feeds.indexOf(gap.feed || "–");
    const from = x(gap.started);
    const mark = svg("rect", {
      class: gap.state === "filled" ? "filled" : "open", x: from, y: y + 2,
      width: Math.max(3, x(gap.ended) - from), height: 14, rx: 1,
    }, chart);
    svg("title", {}, mark).textContent = `${gap.feed || "–"}: ${gap.cause}, ${clock(gap.started)}, ${span((gap.ended - gap.started) / 1000)}`;
  }
  const hours = (day.end - day.start) / 3600000;
  for (let hour = 0; hour <= hours; hour += width < 500 ? 6 : 3) {
    const at = x(day.start + hour * 3600000);
    const anchor = hour === 0 ? "start" : hour >= hours ? "end" : "middle";
    svg("text", { x: at, y: height - 4, "text-anchor": anchor }, chart).textContent = `${hour}:00`;
  }
  const at = x(now.now / 1e6);
  svg("line", { class: "now", x1: at, x2: at, y1: top, y2: height - 18 }, chart);
}

function showFiles(now) {
  const files = Object.entries(now.tables)
    .flatMap(([kind, table]) => table.last_files.map((file) => ({ ...file, kind })))
    .sort((one, other) => other.written - one.written).slice(0, 12);
  if (!files.length) return none("file-table", "No file has been written by this run yet.");
  rows("file-table", files.map((file) => file.path), ["", "", ""]).forEach((row, place) => {
    set(row.cells[0], clock(files[place].written / 1e6));
    set(row.cells[1], files[place].kind);
    set(row.cells[2], files[place].path);
  });
}

function show() {
  if (!latest) return;
  for (const part of [showHead, showNow, showFeeds, showLatency, showTables, showGaps, showFiles]) part(latest);
}

// ---- the stream

function connected(fine, text) {
  set(byId("link"), text, fine ? "good" : "warn");
}

function listen() {
  const stream = new EventSource("/events");
  stream.addEventListener("history", (event) => {
    const said = JSON.parse(event.data);
    if (digest && digest !== said.page) location.reload(); // another edc, and another page
    digest = said.page;
    // a daemon that was started again knows nothing of before: what is known here stays
    const first = said.points.length ? said.points[0].t : Infinity;
    points = [...points.filter((point) => point.t < first), ...said.points].slice(-MOST_POINTS);
  });
  stream.addEventListener("point", (event) => {
    points = [...points, JSON.parse(event.data)].slice(-MOST_POINTS);
  });
  stream.addEventListener("status", (event) => {
    latest = JSON.parse(event.data);
    heard = Date.now();
    connected(true, "live");
    if (!document.hidden) show();
  });
  stream.addEventListener("error", () => {
    connected(false, "reconnecting");
    if (stream.readyState === EventSource.CLOSED) { // it was refused, and does not try again
      stream.close();
      setTimeout(listen, 2000);
    }
  });
}

setInterval(() => {
  if (heard && Date.now() - heard > 5000) connected(false, "nothing heard for a while");
}, 1000);
document.addEventListener("visibilitychange", show);
addEventListener("resize", show);
byId("which-feed").addEventListener("change", show);
byId("which-stage").addEventListener("change", show);
listen();
