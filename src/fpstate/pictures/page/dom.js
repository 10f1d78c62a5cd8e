// Elements and figures. All text becomes text nodes: nothing that a trace says is ever read as markup.

const byId = (id) => document.getElementById(id);

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null));
  return node;
}

function fill(id, ...children) {
  byId(id).replaceChildren(...children.flat(Infinity).filter((child) => child !== null));
}

function choose(id, options, chosen) {
  fill(id, options.map(([value, text]) => make("option", { value, selected: value === chosen }, text)));
  byId(id).value = chosen;
}

const whole = (n) => Math.round(n).toLocaleString("en-US");
const span = (low, high, text) => (text(low) === text(high) ? text(low) : `${text(low)}–${text(high)}`);
const counts = (low, high) => span(low, high, whole);

function short(x) {
  if (x >= 999.5) return whole(x);
  return x >= 9.95 ? x.toFixed(0) : x.toFixed(1).replace(/\.0$/, "");
}
const kilo = (low, high) => span(low / 1000, high / 1000, short);
const seconds = (ns, digits) => `${(ns / 1e9).toFixed(digits)} s`;

// A table within a frame that scrolls; `caption` is for screen readers. `heads`: [text, class]; `rows`: cells, the first of each being its head.
function table(caption, heads, rows) {
  const head = make("tr", {}, heads.map(([text, kind]) => make("th", { scope: "col", class: kind || null }, text)));
  const body = rows.map((cells) =>
    make("tr", {}, cells.map((cell, i) =>
      make(i ? "td" : "th", { scope: i ? null : "row", class: heads[i][1] || null }, cell))));
  const inside = make("table", {}, make("thead", {}, head), make("tbody", {}, body));
  return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption }, inside);
}

// A bar of parts [class, from, to] on a scale that ends at `most`.
function bar(parts, most) {
  return make("div", { class: "bar", "aria-hidden": "true" }, parts.map(([kind, from, to]) => {
    const part = make("i", { class: kind });
    part.style.left = `${(100 * from) / most}%`;
    part.style.width = kind === "bound" ? "" : `${(100 * (to - from)) / most}%`;
    return part;
  }));
}

function sentences(list) {
  return list.length ? make("ul", { class: "sentences" }, list.map((text) => make("li", {}, text))) : null;
}

// The colour that stands for somebody on this page: the same name has the same one everywhere.
const hues = new Map();
function fillOf(name, style) {
  if (!hues.has(name)) hues.set(name, Math.round(205 + hues.size * 137.508) % 360);
  return `hsl(${hues.get(name)} ${style.getPropertyValue("--fill-saturation")} ${style.getPropertyValue("--fill-lightness")})`;
}
