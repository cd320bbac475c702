// Answers, explanations and plots as elements. Texts become text nodes, never markup.
import { piece } from "./offsets.js";
import { number, say, share, time, whole } from "./words.js";

const HUES = 8;

/** An element; `given` holds properties, attributes with a dash in their name, and listeners as `onclick`. */
export function el(name, given = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else if (value !== undefined) made[key] = value;
  }
  made.append(...inside.filter((each) => each !== null && each !== undefined));
  return made;
}

const drawn = (name, given = {}, ...inside) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};

/** An answer, whatever its shape, in one line. */
export function inWords(answer, text) {
  if (answer === null || answer === undefined) return say("no_answer");
  if (typeof answer === "string") return answer;
  if (answer.some((each) => typeof each === "string")) return answer.join("; ");
  return answer.map((each) => `${piece(text, each.start, each.end)}${each.label ? ` (${each.label})` : ""}`).join("; ") || say("no_span");
}

/** Options with bars. `belongs` says which are a part of the answer. */
export function bars(ranked, belongs) {
  return el("ol", { className: "bars" }, ...ranked.slice(0, 12).map(([label, value]) => {
    const bar = el("span", { className: "bar" });
    bar.style.inlineSize = `${100 * value}%`;
    const chosen = belongs(label);
    return el("li", { className: chosen ? "chosen" : "" },
      el("span", { className: "name", dir: "auto" }, chosen ? "✓ " : "", label), el("span", { className: "share" }, share(value)),
      el("span", { className: "rail", "aria-hidden": "true" }, bar));
  }));
}

export const hueOf = (label, labels) => `hue${Math.max(0, labels.indexOf(label)) % HUES}`;

/** A text with its spans: coloured, underlined, and with their labels. */
export function marked(text, spans, labels) {
  const made = [];
  let at = 0;
  for (const each of [...spans].sort((one, two) => one.start - two.start)) {
    made.push(piece(text, at, each.start));
    made.push(el("mark", { className: hueOf(each.label, labels), "data-label": each.label, title: each.label }, piece(text, each.start, each.end)));
    at = each.end;
  }
  return [...made, piece(text, at, Infinity)].filter((each) => each !== "");
}

/** A mended text; each change says what stood there. */
export function mended(text, edits) {
  const made = [];
  let at = 0;
  for (const each of edits) {
    const was = piece(text, each.start, each.end);
    made.push(piece(text, at, each.start), was ? el("del", {}, was) : "", was && each.replacement ? "\u2009" : "",
      el("ins", { title: say("mended", was) }, each.replacement), "\u2009", el("small", {}, share(each.confidence)));
    at = each.end;
  }
  return [...made, piece(text, at, Infinity)];
}

/** Words that were heard, with the seconds where they begin. */
export const timed = (words) => el("ol", { className: "timed" }, ...words.map((each) =>
  el("li", {}, el("span", { dir: "auto" }, each.word), el("small", {}, `${each.start.toFixed(2)}–${each.end.toFixed(2)} s`))));

/** A text whose pieces are tinted by what they add. */
export function tinted(text, shares) {
  const most = Math.max(...shares.map((each) => Math.abs(each.weight)), 1e-9);
  const made = [];
  let at = 0;
  for (const each of [...shares].sort((one, two) => one.start - two.start)) {
    if (each.start < at || Math.abs(each.weight) < 0.05 * most) continue;
    const tint = el("span", { className: each.weight > 0 ? "for" : "against", title: number(each.weight) }, piece(text, each.start, each.end));
    tint.style.setProperty("--much", (0.6 * Math.abs(each.weight)) / most);
    made.push(piece(text, at, each.start), tint);
    at = each.end;
  }
  return el("p", { className: "text", dir: "auto" }, ...made, piece(text, at, Infinity));
}

/** What `POST /v1/explain` found. */
export function explained(found) {
  const causes = found.causes.map((each) => {
    const added = [...each.words, ...each.letters];
    const strong = [...added].sort((one, two) => Math.abs(two.weight) - Math.abs(one.weight)).filter((one) => Math.abs(one.weight) >= 0.005).slice(0, 8);
    return el("div", {},
      el("h3", { dir: "auto" }, say("why_at", each.what, share(each.value))), tinted(found.text, added),
      el("details", {}, el("summary", {}, say("numbers")), el("ul", { className: "plain" },
        ...strong.map((one) => el("li", { dir: "auto" }, `${one.text} ${one.weight > 0 ? "+" : "−"}${number(Math.abs(one.weight))}`)))));
  });
  const other = found.counterfactuals.map((each) => el("li", { dir: "auto" }, say("changed",
    each.changes.map((one) => `“${one.from}” → “${one.to}”`).join(", "), inWords(each.answer, each.text), share(each.confidence))));
  return [causes.length ? el("p", { className: "muted" }, say("blue_orange")) : null, ...causes,
    other.length ? el("h3", {}, say("would_change")) : null, other.length ? el("ul", {}, ...other) : null, ...found.notes.map((each) => el("p", { className: "muted" }, each))].filter(Boolean);
}

const WIDE = 340;
const HIGH = 210;
const DASHES = ["none", "6 3", "2 3", "8 3 2 3"];

/** Methods by numbers of labels, with intervals. */
export function curve(study) {
  const methods = [...new Set(study.summary.map((each) => each.method))];
  const labels = [...new Set(study.summary.map((each) => each.labels))].sort((one, two) => one - two);
  const low = Math.min(...study.summary.map((each) => each.low));
  const high = Math.max(...study.summary.map((each) => each.high));
  const room = (high - low || 1) * 0.06;
  const [floor, top] = [low >= 0 ? Math.max(0, low - room) : low - room, high <= 1 ? Math.min(1, high + room) : high + room];
  const span = Math.log1p(labels.at(-1)) - Math.log1p(labels[0]) || 1;
  const x = (value) => 44 + ((WIDE - 62) * (Math.log1p(value) - Math.log1p(labels[0]))) / span;
  const y = (value) => 22 + ((HIGH - 64) * (top - value)) / (top - floor || 1);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "plot", role: "img" });
  const told = `${study.metric}: ${methods.map((each) => { const last = study.summary.findLast((one) => one.method === each); return `${each} ${number(last.value)}, ${say("at_labels", whole(last.labels))}`; }).join("; ")}`;
  svg.setAttribute("aria-label", told);
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find((each) => (top - floor) / each <= 5) ?? 100;
  for (let value = Math.ceil(floor / step) * step; value <= top + 1e-9; value += step) {
    svg.append(drawn("path", { d: `M44 ${y(value)}H${WIDE - 18}`, class: "rule" }), drawn("text", { x: 38, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  let before = Infinity;
  for (const each of [...labels].reverse()) {
    if (before - x(each) < 34) continue;
    before = x(each);
    svg.append(drawn("text", { x: before, y: HIGH - 24, "text-anchor": "middle" }, whole(each)));
  }
  svg.append(drawn("text", { x: (WIDE + 26) / 2, y: HIGH - 6, "text-anchor": "middle", class: "quiet" }, say("labels")), drawn("text", { x: 0, y: 9, class: "quiet" }, study.metric));
  const legend = el("ul", { className: "legend" });
  methods.forEach((method, at) => {
    const points = study.summary.filter((each) => each.method === method).sort((one, two) => one.labels - two.labels);
    const hue = `line hue${at % HUES}`;
    const dash = DASHES[Math.floor(at / HUES + at) % DASHES.length];
    for (const each of points) svg.append(drawn("path", { d: `M${x(each.labels)} ${y(each.low)}V${y(each.high)}`, class: `${hue} thin` }));
    svg.append(drawn("path", { d: points.map((each, place) => `${place ? "L" : "M"}${x(each.labels)} ${y(each.value)}`).join(""), class: hue, "stroke-dasharray": dash }));
    for (const each of points) svg.append(drawn("circle", { cx: x(each.labels), cy: y(each.value), r: 3, class: `${hue} dot` }));
    const key = drawn("svg", { viewBox: "0 0 30 10", class: "swatch", "aria-hidden": "true" }, drawn("path", { d: "M0 5H30", class: hue, "stroke-dasharray": dash }));
    legend.append(el("li", {}, key, method));
  });
  const cell = (method, label) => study.summary.find((each) => each.method === method && each.labels === label);
  const rows = methods.map((method) => el("tr", {}, el("th", { scope: "row" }, method), ...labels.map((label) => {
    const each = cell(method, label);
    return el("td", { className: "number" }, each ? each.value.toFixed(3) : "");
  })));
  const head = el("tr", {}, el("th", { scope: "col" }, say("method")), ...labels.map((each) => el("th", { scope: "col", className: "number" }, whole(each))));
  return [svg, legend, el("details", {}, el("summary", {}, say("numbers")), el("div", { className: "scrolled", tabIndex: 0, role: "region", "aria-label": study.metric }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows))))];
}

/** What a drift monitor told of one model, a small chart for each kind. */
export function drift(points) {
  return [...new Set(points.map((each) => each.kind))].map((kind) => {
    const told = points.filter((each) => each.kind === kind && Number.isFinite(each.value));
    const values = told.map((each) => each.value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const x = (at) => 6 + (at * (WIDE - 12)) / Math.max(told.length - 1, 1);
    const y = (value) => 8 + (44 * (high - value)) / (high - low || 1);
    const last = told.at(-1);
    const name = say("kinds")[kind] ?? kind;
    const words = last ? `${name}: ${say("last")} ${number(last.value)}${Number.isFinite(last.p) ? `, ${say("probability")} ${number(last.p)}` : ""}, ${time(last.at)}${last.alarm ? ` · ${say("alarm")}` : ""}` : name;
    const svg = drawn("svg", { viewBox: `0 0 ${WIDE} 62`, class: "plot", role: "img", "aria-label": words });
    svg.append(drawn("path", { d: "M0 56H340", class: "rule" }), drawn("path", { d: told.map((each, at) => `${at ? "L" : "M"}${x(at)} ${y(each.value)}`).join(""), class: "line hue0" }));
    told.forEach((each, at) => {
      if (each.alarm) svg.append(drawn("path", { d: `M${x(at)} ${y(each.value) - 6}l6 11h-12Z`, class: "alarm" }, drawn("title", {}, `${say("alarm")} ${time(each.at)}`)));
    });
    return el("figure", {}, svg, el("figcaption", { className: last?.alarm ? "warned" : "" }, words));
  });
}
