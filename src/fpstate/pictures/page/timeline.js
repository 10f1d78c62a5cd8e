// One lane per CPU, coloured by whose values its registers hold; two policies above each other on one canvas each.

const GUTTER = 56, LANE = 46, BAR = 24, TICK = 5, AXIS = 24;
const MARKS = [["saves", "--save", "save"], ["loads", "--load", "load"], ["traps", "--trap", "trap"]];

// The first index of `sorted` whose value is above `x`.
function above(sorted, x) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > x) high = middle; else low = middle + 1;
  }
  return low;
}

// When each event was, and which events each CPU has.
function clockOf(shown) {
  const { since, cpu } = shown.events, cpus = Object.values(shown.timelines)[0].first.length;
  const time = new Float64Array(since.length), lists = Array.from({ length: cpus }, () => []);
  let now = 0;
  for (let i = 0; i < since.length; i++) {
    time[i] = now += since[i];
    lists[cpu[i]].push(i);
  }
  const entries = lists.map((list) => Uint32Array.from(list));
  return { time, entries, times: entries.map((list) => Float64Array.from(list, (i) => time[i])), end: Math.max(1, shown.trace.duration_ns) };
}

// Of each CPU: where stretches of one owner begin, and where something was carried out.
function lanesOf(line, clock) {
  return clock.entries.map((entries, cpu) => {
    const begins = [0], owners = [line.first[cpu]], marked = [];
    for (const i of entries) {
      if (line.owner[i] !== owners[owners.length - 1]) { begins.push(clock.time[i]); owners.push(line.owner[i]); }
      if (line.saves[i] + line.loads[i] + line.traps[i]) marked.push(i);
    }
    return { begins: Float64Array.from(begins), owners, marked: Uint32Array.from(marked),
      at: Float64Array.from(marked, (i) => clock.time[i]) };
  });
}

function paletteOf(owners) {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(name).trim();
  const fills = owners.map((o) => (o.kind === "nobody" ? named("--panel") : fillOf(o.name, style)));
  return { fills, ink: named("--ink"), muted: named("--muted"), line: named("--line"), ground: named("--ground"),
    accent: named("--accent"), bad: named("--bad"), marks: MARKS.map(([, colour]) => named(colour)) };
}

// Draw whose values one CPU holds. Stretches narrower than a pixel share it: its colour is of who held it longest.
// Return how many shared.
function drawStretches(g, lane, y, place, draw) {
  const { begins, owners } = lane;
  const { from, scale, width, end } = place;
  const held = new Float64Array(draw.fills.length);
  let shared = 0, pixel = -1, touched = [], runFrom = 0, runTo = 0, runOwner = -1;
  const paint = (x0, x1, owner) => { g.fillStyle = draw.fills[owner]; g.fillRect(GUTTER + x0, y, x1 - x0, BAR); };
  const flushRun = () => { if (runOwner >= 0) paint(runFrom, runTo, runOwner); runOwner = -1; };
  const flush = () => {
    if (pixel < 0) return;
    let best = touched[0];
    for (const o of touched) { if (held[o] > held[best]) best = o; }
    for (const o of touched) held[o] = 0;
    if (runOwner === best && runTo === pixel) runTo++;
    else { flushRun(); runOwner = best; runFrom = pixel; runTo = pixel + 1; }
    pixel = -1; touched = [];
  };
  const last = above(begins, from + width / scale);
  for (let i = Math.max(0, above(begins, from) - 1); i < last; i++) {
    const x0 = Math.max(0, (begins[i] - from) * scale);
    const x1 = Math.min(width, ((i + 1 < begins.length ? begins[i + 1] : end) - from) * scale);
    if (x1 - x0 >= 2) {
      flush(); flushRun();
      paint(x0, x1, owners[i]);
      if (x1 - x0 > 30) draw.label(draw.names[owners[i]], x0, x1, y);
      continue;
    }
    shared++;
    for (let p = Math.floor(x0); p < x1 || p === Math.floor(x0); p++) {
      if (p !== pixel) { flush(); pixel = p; }
      if (!held[owners[i]]) touched.push(owners[i]);
      held[owners[i]] += Math.max(1e-9, Math.min(x1, p + 1) - Math.max(x0, p));
    }
  }
  flush(); flushRun();
  return shared;
}

// Draw a tick for each pixel in which something was carried out.
function drawMarks(g, lane, y, place, line, draw) {
  const { from, scale, width } = place;
  const columns = MARKS.map(() => new Uint8Array(Math.ceil(width) + 1));
  const begin = above(lane.at, from - 1), last = above(lane.at, from + width / scale);
  const wide = last - begin < width / 8 ? 3 : 1.25;
  for (let k = begin; k < last; k++) {
    const i = lane.marked[k], p = Math.round((lane.at[k] - from) * scale);
    if (p < 0 || p > width) continue;
    MARKS.forEach(([name], m) => { if (line[name][i]) columns[m][p] = 1; });
  }
  columns.forEach((column, m) => {
    g.fillStyle = draw.marks[m];
    for (let p = 0; p < column.length; p++) {
      if (!column[p]) continue;
      g.fillRect(GUTTER + p - wide / 2, y + BAR + 2 + m * (TICK + 1), wide, TICK);
    }
  });
}

function drawAxis(g, y, place, draw, begins) {
  const { from, scale, width } = place;
  const raw = 90 / scale, power = 10 ** Math.floor(Math.log10(raw));
  const every = [1, 2, 5, 10].map((n) => n * power).find((step) => step >= raw);
  const digits = Math.max(0, Math.min(9, 9 - Math.floor(Math.log10(every))));
  g.fillStyle = draw.muted;
  g.textAlign = "center";
  const first = Math.ceil((begins + from) / every) * every;
  for (let t = first; t <= begins + from + width / scale; t += every) {
    const x = GUTTER + (t - begins - from) * scale;
    g.fillRect(x, y, 1, 4);
    const text = seconds(t, digits), half = g.measureText(text).width / 2;
    if (x - half > GUTTER - 20 && x + half < GUTTER + width) g.fillText(text, x, y + 16);
  }
}

function timelineView() {
  const panels = [0, 1].map((k) => ({ canvas: byId(`canvas-${k}`), select: byId(`policy-${k}`), line: null, lanes: null, shared: 0 }));
  let shown = null, clock = null, palette = null, asked = false;
  const view = { from: 0, to: 1, cpu: 0, selected: -1 };

  const widthOf = (canvas) => Math.max(80, canvas.clientWidth - GUTTER - 2);
  const placeOf = (canvas) => {
    const width = widthOf(canvas);
    return { from: view.from, scale: width / (view.to - view.from), width, end: clock.end };
  };
  const names = (i) => {
    const { event, subject, object } = shown.events;
    const other = object[i] >= 0 ? ` → ${shown.contexts[object[i]].name}` : "";
    const who = subject[i] >= 0 ? ` ${shown.contexts[subject[i]].name}` : "";
    return `${shown.events.names[event[i]]}${who}${other}`;
  };
  const when = (i) => {
    const line = shown.events.line[i];
    return `CPU ${shown.events.cpu[i]}, ${seconds(shown.trace.begins_ns + clock.time[i], 6)}, ${line ? `line ${line}` : "of no line"}`;
  };
  const carriedOut = (line, i) => MARKS.filter(([name]) => line[name][i])
    .map(([name, , one]) => `${line[name][i]} ${line[name][i] === 1 ? one : name}`).join(", ") || "nothing";

  function draw() {
    asked = false;
    for (const panel of panels) if (panel.line) drawPanel(panel);
    const shared = panels.reduce((sum, p) => sum + (p.line ? p.shared : 0), 0);
    byId("aggregated").textContent = `${seconds(view.to - view.from, 6)} of ${seconds(clock.end, 3)} shown. ` + (shared
      ? `${whole(shared)} stretches are narrower than a pixel: the colour of a column is whoever held it longest. Zoom in to see them.`
      : "Every stretch is drawn by itself.");
  }

  function drawPanel(panel) {
    const { canvas, line, lanes } = panel;
    const cpus = lanes.length, height = cpus * LANE + AXIS, ratio = devicePixelRatio || 1, css = canvas.clientWidth;
    if (canvas.width !== Math.round(css * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(css * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const g = canvas.getContext("2d"), place = placeOf(canvas);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.fillStyle = palette.ground;
    g.fillRect(0, 0, css, height);
    g.font = "12px system-ui, sans-serif";
    const label = (text, x0, x1, y) => {
      g.save();
      g.beginPath(); g.rect(GUTTER + x0 + 3, y, x1 - x0 - 5, BAR); g.clip();
      g.fillStyle = palette.ink; g.textAlign = "left";
      g.fillText(text, GUTTER + x0 + 4, y + 16);
      g.restore();
    };
    const brush = { ...palette, names: shown.owners.map((o) => (o.kind === "nobody" ? "" : o.name)), label };
    panel.shared = 0;
    for (let c = 0; c < cpus; c++) {
      const y = c * LANE + 3;
      g.fillStyle = view.cpu === c ? palette.accent : palette.ink;
      g.textAlign = "left";
      g.fillText(`CPU ${c}`, 8, y + 16);
      panel.shared += drawStretches(g, lanes[c], y, place, brush);
      drawMarks(g, lanes[c], y, place, line, brush);
    }
    drawAxis(g, cpus * LANE, place, brush, shown.trace.begins_ns);
    const vertical = (i, colour) => {
      const x = (clock.time[i] - view.from) * place.scale;
      if (x < 0 || x > place.width) return;
      g.fillStyle = colour;
      g.fillRect(GUTTER + x - 0.75, 0, 1.5, cpus * LANE);
    };
    if (line.wrong !== null) vertical(line.wrong, palette.bad);
    if (view.selected >= 0) vertical(view.selected, palette.accent);
  }

  const again = () => { if (!asked && clock) { asked = true; requestAnimationFrame(draw); } };

  function look(from, to) {
    const length = Math.max(100, Math.min(clock.end, to - from));
    view.from = Math.max(0, Math.min(clock.end - length, from));
    view.to = view.from + length;
    again();
  }
  function zoom(factor, around) {
    const length = Math.max(100, Math.min(clock.end, (view.to - view.from) * factor));
    const share = (around - view.from) / (view.to - view.from);
    look(around - share * length, around - share * length + length);
  }
  const centre = () => {
    const t = view.selected >= 0 ? clock.time[view.selected] : -1;
    return t >= view.from && t <= view.to ? t : (view.from + view.to) / 2;
  };
  const pan = (share) => look(view.from + share * (view.to - view.from), view.to + share * (view.to - view.from));

  // The event of a CPU nearest to a time.
  function nearest(cpu, t) {
    const times = clock.times[cpu];
    if (!times.length) return -1;
    const i = above(times, t), before = Math.max(0, i - 1), after = Math.min(times.length - 1, i);
    return clock.entries[cpu][t - times[before] <= times[after] - t ? before : after];
  }

  function select(i) {
    if (i < 0) return;
    view.selected = i;
    view.cpu = shown.events.cpu[i];
    const t = clock.time[i], length = view.to - view.from;
    if (t < view.from || t > view.to) look(t - length / 2, t + length / 2); else again();
    fill("decision", make("h3", {}, `${names(i)} (${when(i)})`),
      make("div", { class: "decisions" }, panels.filter((p) => p.line).map((p) => decisionShown(p, i))));
  }

  function decisionShown(panel, i) {
    const { line } = panel, rule = line.rows[line.row[i]];
    const about = [["Carried out", carriedOut(line, i)], ["Registers then hold", shown.owners[line.owner[i]].name]];
    if (rule) {
      about.push(["Row of the policy", rule.event], ["When", rule.when.join(", ") || "always"],
        ["Then", rule.then.join(", ") || "nothing"], ["Decided at", make("code", {}, rule.where)]);
    }
    return make("div", {}, make("h4", {}, panel.select.value),
      make("dl", { class: "facts" }, about.map(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])),
      rule ? (rule.text ? make("pre", {}, rule.text) : null) : make("p", {}, "The policy decides nothing here."));
  }

  function step(by) {
    const entries = clock.entries[view.cpu];
    if (!entries.length) return;
    const times = clock.times[view.cpu];
    const here = view.selected >= 0 && shown.events.cpu[view.selected] === view.cpu;
    let k = here ? entries.indexOf(view.selected) + by : above(times, view.from - 0.5) - (by > 0 ? 0 : 1);
    k = Math.max(0, Math.min(entries.length - 1, k));
    select(entries[k]);
  }
  function lane(by) {
    const cpu = Math.max(0, Math.min(clock.entries.length - 1, view.cpu + by));
    const t = view.selected >= 0 ? clock.time[view.selected] : centre();
    view.cpu = cpu;
    again();
    select(nearest(cpu, t));
  }

  function hover(panel, event) {
    const box = panel.canvas.getBoundingClientRect(), place = placeOf(panel.canvas);
    const cpu = Math.floor((event.clientY - box.top) / LANE), x = event.clientX - box.left - GUTTER;
    if (cpu < 0 || cpu >= clock.entries.length || x < 0) return -1;
    const t = view.from + x / place.scale, i = nearest(cpu, t);
    if (i < 0) return -1;
    const near = above(clock.times[cpu], t + 1 / place.scale) - above(clock.times[cpu], t - 1 / place.scale);
    const crowd = near > 1 ? ` One of ${whole(near)} events here.` : "";
    const { line } = panel, owner = panel.lanes[cpu].owners[Math.max(0, above(panel.lanes[cpu].begins, t) - 1)];
    byId("hovered").textContent = `${panel.select.value}: registers hold ${shown.owners[owner].name}. Nearest event: ${names(i)} ` +
      `(${when(i)}), carried out: ${carriedOut(line, i)}.${crowd}`;
    return i;
  }

  function listen(panel) {
    const { canvas } = panel, held = new Map();
    let moved = 0;
    canvas.addEventListener("wheel", (event) => {
      const x = event.clientX - canvas.getBoundingClientRect().left - GUTTER, place = placeOf(canvas);
      if (event.ctrlKey || event.metaKey) zoom(Math.exp(event.deltaY * 0.003), view.from + x / place.scale);
      else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / place.width);
      else return;
      event.preventDefault();
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      held.set(event.pointerId, event.clientX);
      moved = 0;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held.has(event.pointerId)) { hover(panel, event); return; }
      const before = [...held.values()], x = held.get(event.pointerId), place = placeOf(canvas);
      held.set(event.pointerId, event.clientX);
      moved += Math.abs(event.clientX - x);
      if (held.size === 1) { look(view.from - (event.clientX - x) / place.scale, view.to - (event.clientX - x) / place.scale); return; }
      const after = [...held.values()], left = canvas.getBoundingClientRect().left + GUTTER;
      const apart = (list) => Math.max(20, Math.abs(list[0] - list[1]));
      zoom(apart(before) / apart(after), view.from + ((after[0] + after[1]) / 2 - left) / place.scale);
    });
    const release = (event) => {
      if (held.delete(event.pointerId) && event.type === "pointerup" && moved < 5) select(hover(panel, event));
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = { "+": () => zoom(0.5, centre()), "=": () => zoom(0.5, centre()), "-": () => zoom(2, centre()), 0: () => look(0, clock.end),
        ArrowLeft: () => (event.shiftKey ? pan(-0.2) : step(-1)), ArrowRight: () => (event.shiftKey ? pan(0.2) : step(1)),
        ArrowUp: () => lane(-1), ArrowDown: () => lane(1) };
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    panel.select.onchange = () => { load(panel); again(); if (view.selected >= 0) select(view.selected); };
  }

  function load(panel) {
    panel.line = shown.timelines[panel.select.value] || null;
    panel.lanes = panel.line && lanesOf(panel.line, clock);
    panel.canvas.setAttribute("aria-label", `Timeline of ${panel.select.value}: whose values each CPU's registers hold`);
    const used = new Set(panels.flatMap((p) => (p.lanes ? p.lanes.flatMap((l) => l.owners) : [])));
    fill("owners", shown.owners.map((o, i) => {
      if (!used.has(i)) return null;
      const swatch = make("i", { class: "swatch" });
      swatch.style.background = palette.fills[i];
      return make("li", {}, swatch, o.name);
    }));
  }

  function recolour() {
    if (!shown) return;
    palette = paletteOf(shown.owners);
    for (const panel of panels) if (panel.line) load(panel);
    draw();
  }

  panels.forEach(listen);
  byId("zoom-in").onclick = () => zoom(0.5, centre());
  byId("zoom-out").onclick = () => zoom(2, centre());
  byId("zoom-all").onclick = () => look(0, clock.end);
  byId("earlier").onclick = () => step(-1);
  byId("later").onclick = () => step(1);
  new ResizeObserver(again).observe(byId("timeline-body"));
  for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", recolour);

  return {
    show(trace, order, first) {
      shown = trace;
      const drawn = order.filter((name) => trace.timelines[name]);
      byId("timeline-body").hidden = !drawn.length;
      fill("timeline-none", trace.no_timelines.length
        ? `No room on a page for the timelines of ${trace.no_timelines.join(", ")}: name fewer policies (-p), or see them with fpstate export.` : "");
      if (!drawn.length) { clock = null; return; }
      clock = clockOf(trace);
      palette = paletteOf(trace.owners);
      Object.assign(view, { from: 0, to: clock.end, cpu: 0, selected: -1 });
      const upper = trace.timelines[first] ? first : drawn[0];
      const lower = drawn.find((name) => name !== upper) || upper;
      [upper, lower].forEach((name, k) => choose(`policy-${k}`, drawn.map((n) => [n, n]), name));
      panels[1].canvas.parentElement.hidden = drawn.length < 2;
      panels.forEach(load);
      if (drawn.length < 2) panels[1].line = null;
      fill("decision");
      byId("hovered").textContent = "";
      draw();
    },
  };
}
