// Unpacks the document, fills the sections, and lets the choices on the page act.

async function unpacked() {
  const packed = Uint8Array.from(atob(byId("document").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function start(report) {
  const state = { shown: report.traces[0], costs: report.costs, policy: "" };
  const names = report.policies.map((p) => p.name);
  const view = timelineView();

  const showCosts = () => {
    const profile = report.profiles.find((p) => p.name === state.costs);
    fill("costs-title", `${profile.title} (${profile.cpu})`);
    showComparison(state.shown, state.costs);
    showOrigins(state.shown, state.policy, state.costs);
  };
  const showTrace = () => {
    const { shown } = state;
    const order = shown.by_costs[state.costs].rows.flatMap((row) => row.policies);
    state.policy = names.includes(shown.kernel_policy) ? shown.kernel_policy : order[0];
    choose("policy", order.map((name) => [name, name]), state.policy);
    showMeasured(shown);
    showCosts();
    view.show(shown, order, state.policy);
  };

  byId("about").textContent = `${report.policies.length} ${report.policies.length === 1 ? "policy" : "policies"} on ` +
    report.traces.map((t) => t.trace.source).join(", ");
  byId("choose-trace").hidden = report.traces.length < 2;
  choose("trace", report.traces.map((t, i) => [String(i), t.trace.source]), "0");
  choose("costs", report.profiles.map((p) => [p.name, p.name]), state.costs);
  byId("trace").onchange = () => { state.shown = report.traces[Number(byId("trace").value)]; showTrace(); };
  byId("costs").onchange = () => { state.costs = byId("costs").value; showCosts(); };
  byId("policy").onchange = () => { state.policy = byId("policy").value; showOrigins(state.shown, state.policy, state.costs); };

  showSafety(report.checks);
  showTrace();
  fill("sections", [...document.querySelectorAll("main > section:not([hidden])")].map((section) =>
    make("li", {}, make("a", { href: `#${section.id}` }, section.querySelector("h2").textContent))));
}

unpacked().then(start).then(
  () => { document.documentElement.dataset.ready = "yes"; },
  (error) => {
    const problem = byId("problem");
    problem.hidden = false;
    problem.textContent = `This page could not be drawn (${error.message}). It needs a browser of 2023 or later.`;
    document.documentElement.dataset.ready = "no";
    console.error(error);
  });
