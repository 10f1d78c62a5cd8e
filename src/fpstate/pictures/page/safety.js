// The verdict on each property, and a counterexample to step through.

const VERDICTS = { holds: ["✓ holds", "good"], violated: ["✗ violated", "bad"] };

function showSafety(checks) {
  byId("safety").hidden = !checks;
  if (!checks) return;
  const names = [...new Set(checks.flatMap((c) => Object.keys(c.properties)))];
  const every = checks.flatMap((c) => c.counterexamples.map((path) => ({ ...path, policy: c.policy })));
  const show = (policy, property) => {
    const i = every.findIndex((path) => path.policy === policy && path.property === property);
    byId("counterexample").value = String(i);
    showCounterexample(every[i]);
    byId("step").focus();
  };
  const cell = (c, name) => {
    const verdict = c.properties[name];
    if (verdict === undefined) return "–";
    const [text, kind] = VERDICTS[verdict] || [`? ${verdict}`, "open"];
    if (verdict !== "violated") return make("span", { class: kind }, text);
    const label = `${c.policy} violates ${name}: show how`;
    return make("button", { type: "button", class: kind, "aria-label": label, onclick: () => show(c.policy, name) }, text);
  };
  fill("safety-table",
    make("p", {}, "Every order of events in a scope was tried. Holds says: in that scope."),
    table("Verdicts by policy and property", [["policy"], ...names.map((name) => [name, "verdict"]), ["scope", "scope"]],
      checks.map((c) => [c.policy, ...names.map((name) => cell(c, name)), c.scope])),
    sentences(checks.filter((c) => c.missing.length).map((c) =>
      `${c.policy}: ${c.missing.join(", ")} never happened; a search without them shows nothing.`)));
  byId("steps").hidden = !every.length;
  if (!every.length) return;
  choose("counterexample", every.map((path, i) => [String(i), `${path.policy}: ${path.property}`]), "0");
  byId("counterexample").onchange = () => showCounterexample(every[Number(byId("counterexample").value)]);
  showCounterexample(every[0]);
}

function showCounterexample(path) {
  const slider = byId("step");
  const told = (s) => `${s.number}. ${s.event} ${s.other ? `${s.who}→${s.other}` : s.who}` + (path.cpus > 1 ? ` (CPU ${s.cpu})` : "");
  const go = (i) => {
    slider.value = String(Math.max(0, Math.min(path.steps.length - 1, i)));
    const at = Number(slider.value);
    slider.setAttribute("aria-valuetext", `${at + 1} of ${path.steps.length}: ${told(path.steps[at])}`);
    byId("step-back").disabled = at === 0;
    byId("step-on").disabled = at === path.steps.length - 1;
    fill("step-body", stepShown(path, at, told));
    byId("step-list").querySelectorAll("button").forEach((b, k) =>
      k === at ? b.setAttribute("aria-current", "step") : b.removeAttribute("aria-current"));
  };
  slider.max = String(path.steps.length - 1);
  fill("step-list", make("ol", { class: "steps" }, path.steps.map((s, i) =>
    make("li", {}, make("button", { type: "button", onclick: () => go(i) },
      told(s), s.operations.length ? `: ${s.operations.join(", ")}` : "", path.blamed.includes(s.number) ? make("strong", { class: "bad" }, " ← decided here") : null)))),
    make("p", { class: "bad" }, path.wrong), make("p", {}, "Decided at ", make("code", {}, path.blame)),
    make("p", { class: "note" }, "Code of the path: ", make("code", {}, path.code)));
  slider.oninput = () => go(Number(slider.value));
  byId("step-back").onclick = () => go(Number(slider.value) - 1);
  byId("step-on").onclick = () => go(Number(slider.value) + 1);
  go(0);
}

function stepShown(path, at, told) {
  const s = path.steps[at];
  const style = getComputedStyle(document.documentElement);
  const cpus = s.registers.map((holds, c) => {
    const box = make("span", { class: "holds" }, holds);
    const nobody = ["nobody's", "zeros", "down"].includes(holds);
    if (nobody) box.classList.add("none");
    else box.style.background = fillOf(holds.replace(/ \(.*\)$/, ""), style);
    return make("div", { class: s.cpu === c ? "cpu acting" : "cpu" }, `CPU ${c} registers`, box,
      make("span", { class: "code muted" }, s.cpus[c] || "no field set"));
  });
  const last = at === path.steps.length - 1;
  return [
    make("p", {}, make("strong", {}, told(s)), ` — the policy does: ${s.operations.join(", ") || "nothing"}`),
    make("div", { class: "cpus" }, cpus),
    s.changed.length ? make("p", {}, "Changed: ", make("code", {}, s.changed.join("; "))) : null,
    s.decided.map((d) => [make("p", {}, "Decided at ", make("code", {}, d.where)), d.text ? make("pre", {}, d.text) : null]),
    path.blamed.includes(s.number) ? make("p", { class: "bad" }, "This decision makes it go wrong.") : null,
    last ? make("p", { class: "bad" }, path.wrong) : null];
}
