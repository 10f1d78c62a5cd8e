// What was measured, the policies compared, and where their costs come from.

const OPERATIONS = { save: "save", load: "load", clear: "clear", guest_trap: "guest trap", user_trap: "user trap", ipi: "interrupt sent" };

function showMeasured(shown) {
  const t = shown.trace;
  const machine = [t.kernel && `kernel ${t.kernel}`, t.mode, t.arch, `${t.cpus} CPUs`].filter(Boolean).join(", ");
  const who = Object.entries(t.kinds).filter(([, n]) => n).map(([kind, n]) => `${n} ${kind}`).join(", ");
  const facts = [
    ["Recording", `${t.source} (${t.format})`],
    ["Machine", machine],
    ["Length", `${seconds(t.duration_ns, 3)}, ${whole(t.lines)} lines, ${whole(t.rows)} events`],
    ["Clock", t.clock],
    ["Who ran", who],
    ["Recorded", t.observed.join(", ")],
  ].filter(([, text]) => text);
  const holes = t.holes.map((h) =>
    `${h.meaning}: ${h.times === 1 ? "once, at" : `${whole(h.times)} times, first at`} line ${h.line} (${h.kind}).`);
  const lost = t.lost.map((l) => `${l.events ? whole(l.events) : "An unknown number of"} events lost on CPU ${l.cpu}, line ${l.line}.`);
  const unseen = [...t.unobserved, ...t.missing.map((text) => `Could not be recorded: ${text}.`)];
  fill("measured-body",
    make("dl", { class: "facts" }, facts.map(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])),
    make("h3", {}, "What could not be seen"),
    unseen.length ? sentences(unseen) : make("p", {}, "Nothing: every use of FP was seen, and figures are exact."),
    make("h3", {}, "Holes"),
    holes.length + lost.length
      ? [make("p", {}, "What must have happened and was not recorded was put in:"), sentences([...holes, ...lost])]
      : make("p", {}, "None: each event can follow the one before it."));
}

function showComparison(shown, costs) {
  const compared = shown.by_costs[costs];
  const byName = new Map(compared.policies.map((p) => [p.name, p]));
  const bound = compared.bound;
  const rows = compared.rows.map((row) => [row.label, byName.get(row.policies[0])]);
  const most = Math.max(1, bound.high.cycles_high, ...rows.map(([, p]) => p.high.cycles_high));
  const marks = [["bound", bound.low.cycles, bound.low.cycles]];
  if (bound.high.cycles !== bound.low.cycles) marks.push(["bound", bound.high.cycles, bound.high.cycles]);
  const cells = ({ low, high }) => [
    bar([["range", low.cycles_low, high.cycles_high], ["point", low.cycles, high.cycles], ...marks], most),
    kilo(low.cycles, high.cycles), kilo(low.cycles_low, high.cycles_high)];
  const operations = (low, high) => ["saves", "loads", "traps"].map((name) => counts(low[name], high[name]));
  const lines = rows.map(([label, p]) => [
    label, ...cells(p), p.ratio_range ? span(...p.ratio_range, short) : "–",
    ...operations(p.low, p.high),
    p.place ? span(...p.place, whole) : make("strong", { class: "bad" }, "corrupts")]);
  lines.unshift(["(bound)", ...cells(bound), "1", ...operations(bound.low, bound.high), "–"]);
  const heads = [["policy"], ["cycles", "bar-cell"], ["kcycles", "number"], ["range", "number"], ["× bound", "number"],
    ["saves", "number"], ["loads", "number"], ["traps", "number"], ["place", "number"]];
  fill("comparison-body", table("What each policy cost", heads, lines));
  const wrong = compared.policies.filter((p) => p.broken).map(({ name, broken: b }) =>
    make("p", { class: "bad" }, `${name} corrupts registers on this trace: ${b.times === 1 ? "once" : `${whole(b.times)} times, first`} ` +
      `at line ${b.line} (${seconds(b.time, 6)}, CPU ${b.cpu}): ${b.who} ${b.what}.`));
  fill("comparison-notes", wrong, sentences(compared.notes));
}

function showOrigins(shown, policy, costs) {
  const origin = shown.origins[policy];
  const used = Object.keys(OPERATIONS).filter((op) => origin.events.some((s) => s.cycles[costs][op]));
  fill("operations", used.map((op) => make("span", {}, make("i", { class: `swatch ${op}` }), OPERATIONS[op])));
  fill("origins-events", sourcesTable("Costs by event", "event", origin.events, costs));
  fill("origins-contexts", sourcesTable("Costs by vCPU and task", "whose events", origin.contexts, costs));
}

function sourcesTable(caption, head, list, costs) {
  const total = (s) => Object.values(s.cycles[costs]).reduce((a, b) => a + b, 0);
  const most = Math.max(1, ...list.map(total));
  const rows = [...list].sort((a, b) => total(b) - total(a)).map((s) => {
    let at = 0;
    const parts = Object.keys(OPERATIONS).filter((op) => s.cycles[costs][op]).map((op) => {
      at += s.cycles[costs][op];
      return [op, at - s.cycles[costs][op], at];
    });
    return [s.name, bar(parts, most), short(total(s) / 1000), ...[s.times, s.saves, s.loads, s.traps].map(whole)];
  });
  const figures = ["kcycles", "events", "saves", "loads", "traps"].map((name) => [name, "number"]);
  return list.length ? table(caption, [[head], ["cycles", "bar-cell"], ...figures], rows) : make("p", {}, "Nothing was carried out.");
}
