// The page of `lowrung serve`: ask, see why, correct, label next, and what became of it.
import { bars, curve, drift, el, explained, hueOf, inWords, marked, mended, timed } from "./drawing.js";
import { cursorAt, selectedIn } from "./offsets.js";
import { fields, put, seen, written } from "./fields.js";
import { MEDIA, by, closed, ofModel, page, perhaps, service, tried } from "./service.js";
import { say, share, time, whole } from "./words.js";

const TRIES = [500, 1500, 3000]; // milliseconds until a correction that did not arrive is sent again

// --- asking

const ask = () => tried(async () => {
  const row = written();
  const { name } = page.about;
  const found = await service("v1/answer", { model: name, row });
  if (page.about.name === name) answered(row, found.answers[0], found.version);
}, by("ask"));

// --- the answer

const textOf = (row) => row.text ?? row.tokens?.join(" ") ?? "";
const extracts = () => page.about.shape === "spans" && !labels().length;
const ranked = (said) => (page.about.shape === "choices" ? said.others.map(([labels, value]) => [labels.join("; "), value]) : [[said.answer, said.confidence], ...said.others].filter(([label]) => label !== null));

function answered(row, said, version) {
  Object.assign(page, { asked: row, said, version, sent: null });
  if (page.open !== null && page.queue[page.open]?.row !== row) {
    page.open = null; // another row than the one of the queue
    listed();
  }
  const { shape } = page.about;
  const text = textOf(row);
  const made = [];
  for (const column of MEDIA) if (row[column]) made.push(seen(column, row[column]));
  if (said.answer === null) made.push(el("p", {}, say("no_answer")));
  else if (shape === "choice" || shape === "choices") made.push(bars(ranked(said), (label) => (shape === "choice" ? label === said.answer : said.answer.includes(label))));
  else if (shape === "spans") made.push(el("p", { className: "text", dir: "auto" }, ...marked(text, said.answer, labels())));
  else if (said.edits) made.push(el("p", { className: "text", dir: "auto" }, ...mended(text, said.edits)));
  else made.push(el("p", { className: "text", dir: "auto" }, said.answer));
  if (shape === "spans" && said.answer?.length === 0) made.push(el("p", { className: "muted" }, say("no_span")));
  if (said.edits?.length === 0) made.push(el("p", { className: "muted" }, say("no_edits")));
  if (said.words) made.push(timed(said.words));
  made.push(el("p", { className: "muted" }, say("confidence", share(said.confidence))));
  if (!page.keeps) made.push(el("p", { className: "muted" }, say("no_store")));
  if ((shape === "spans" || shape === "text") && said.others.length) made.push(others(said, text));
  by("said").replaceChildren(...made);
  by("told").textContent = `${inWords(said.answer, text)}. ${say("confidence", share(said.confidence))}`;
  by("because").replaceChildren();
  by("why").hidden = !text.trim() || said.answer === null || Boolean(page.about.media);
  by("answer").hidden = false;
  by("correct").hidden = !page.keeps;
  by("kept").textContent = "";
  if (page.keeps) correction();
}

const others = (said, text) => el("details", {}, el("summary", {}, say("others")), el("ul", {}, ...said.others.slice(0, 8).map(([answer, value]) =>
  el("li", { dir: "auto" }, `${inWords(answer, text)} · ${share(value)}`))));

const why = () => tried(async () => {
  by("because").replaceChildren(el("p", { className: "muted" }, say("working")));
  const row = page.asked;
  const found = await service("v1/explain", { model: page.about.name, row }).catch((problem) => {
    by("because").replaceChildren();
    throw problem;
  });
  if (row === page.asked) by("because").replaceChildren(...explained(found));
}, by("why"));

// --- corrections

const labels = () => page.about.options;

/** The fields for the right answer, as the task has it; `page.right` reads them. */
function correction() {
  const { shape } = page.about;
  const made = shape === "choice" ? choices("radio") : shape === "choices" ? choices("checkbox") : shape === "spans" ? marking() : writing();
  by("choices").replaceChildren(...made);
}

function choices(type) {
  const best = ranked(page.said).map(([label]) => label);
  const all = [...new Set([...best, ...labels()])];
  const inputs = all.map((value) => el("input", { type, name: "choice", value, checked: [page.said.answer].flat().includes(value) }));
  page.right = () => {
    const taken = inputs.filter((each) => each.checked).map((each) => each.value);
    return type === "radio" ? taken[0] : taken;
  };
  page.digit = (at) => {
    if (!inputs[at]) return false;
    inputs[at].checked = type === "radio" || !inputs[at].checked;
    return true;
  };
  const made = inputs.map((input, at) => el("label", {}, input, el("kbd", { "aria-hidden": "true", className: at < 9 ? "" : "none" }, at < 9 ? at + 1 : 0), el("span", { dir: "auto" }, input.value)));
  return [el("fieldset", {}, el("legend", {}, say(type === "radio" ? "one_of" : "several_of"), " ", el("small", {}, say("correct_keys"))), el("div", { className: "options" }, ...made))];
}

function writing() {
  const area = el("textarea", { id: "right-text", rows: 4, dir: "auto", spellcheck: false, value: page.said.answer ?? "" });
  page.right = () => area.value;
  page.digit = () => false;
  return [el("p", { className: "field" }, el("label", { htmlFor: "right-text" }, say("right_text")), area)];
}

/** Spans to be drawn in the text: with the mouse, or with Shift and the arrows; the field takes no letter. */
function marking() {
  const text = textOf(page.asked);
  const names = extracts() ? [""] : labels();
  let spans = [...(page.said.answer ?? [])];
  let range = [0, 0];
  const view = el("div", { id: "marking", className: "text marking", contentEditable: "true", dir: "auto", spellcheck: false, role: "textbox", "aria-readonly": "true", "aria-multiline": "true", "aria-labelledby": "marking-hint", inputMode: "none" });
  const list = el("ul", { className: "plain spans", "aria-label": say("marked") });
  const draw = () => {
    spans.sort((one, two) => one.start - two.start);
    view.replaceChildren(...marked(text, spans, names));
    list.replaceChildren(...spans.map((each) => {
      const what = inWords([each], text);
      return el("li", {}, el("span", { dir: "auto", className: hueOf(each.label, names) }, what), el("button", { type: "button", "aria-label": say("drop", what), onclick: () => change([each.start, each.end], null) }, "✕"));
    }), ...(spans.length ? [] : [el("li", { className: "muted" }, say("span_none"))]));
  };
  const change = ([start, end], label) => {
    const inside = (each) => (start === end ? each.start <= start && start <= each.end : each.start < end && start < each.end);
    const hit = spans.filter(inside);
    const [from, to] = start === end && hit.length ? [hit[0].start, hit[0].end] : [start, end];
    if (label !== null && from === to) return;
    spans = label !== null && extracts() ? [] : spans.filter((each) => !hit.includes(each));
    if (label !== null) spans.push({ start: from, end: to, label });
    draw();
    if (document.activeElement === view) cursorAt(view, text, to);
    range = [to, to];
  };
  // the event comes later than the selection: whoever acts on it looks again, or a quick key would mark what was before
  const now = () => (range = selectedIn(view, text) ?? range);
  document.onselectionchange = now;
  for (const kind of ["beforeinput", "dragstart", "drop", "paste", "cut"]) view.addEventListener(kind, (event) => event.preventDefault());
  view.addEventListener("input", draw); // of an input method that asks nobody
  view.addEventListener("keydown", (event) => {
    if (event.key !== "Delete" && event.key !== "Backspace") return;
    event.preventDefault();
    change(now(), null);
  });
  page.right = () => spans.map((each) => (extracts() ? { start: each.start, end: each.end } : each));
  page.digit = (at) => {
    if (at >= names.length) return false;
    change(now(), names[at]);
    return true;
  };
  const buttons = names.map((label, at) => el("button", { type: "button", className: hueOf(label, names), onmousedown: (event) => event.preventDefault(), onclick: () => change(now(), label) },
    at < 9 ? el("kbd", { "aria-hidden": "true" }, at + 1) : null, label || say("is_answer")));
  draw();
  return [el("p", { id: "marking-hint", className: "muted" }, say("mark")), view, el("p", { className: "row" }, ...buttons), list];
}

/** Send the correction until it has arrived; a repeated one is known by its key. */
async function keep() {
  const right = page.right();
  if (right === undefined) {
    by("kept").textContent = say("choose");
    return;
  }
  const body = { model: page.about.name, row: page.asked, correction: right, answer: page.said.answer, version: page.version, source: "page" };
  const same = JSON.stringify([body.row, body.correction]);
  if (page.sent?.same !== same) page.sent = { same, key: crypto.randomUUID() };
  const { key } = page.sent; // by now another row may be shown
  const here = () => page.asked === body.row;
  by("trouble").hidden = true;
  by("kept").textContent = say("keeping");
  for (const wait of [...TRIES, 0]) {
    try {
      const found = await service("v1/corrections", { key, ...body });
      if (here()) by("kept").textContent = say("kept", whole(found.number));
      answeredNext(body.row, here());
      return;
    } catch (problem) {
      const again = wait && (problem.status === 0 || problem.status === 429 || problem.status >= 500);
      const place = by(here() ? "kept" : "trouble");
      place.textContent = say("not_kept", problem.message);
      place.hidden = false;
      if (!again) return;
      await new Promise((done) => { setTimeout(done, wait); });
    }
  }
}

// --- what to label next

const filled = () => tried(async () => {
  const found = page.keeps ? await ofModel("next?n=20") : null;
  if (found === undefined) return;
  by("next").hidden = !found;
  if (!found) return;
  Object.assign(page, { queue: found.rows, left: found.left, ahead: found.version, open: null });
  listed();
}, by("next"));

function listed(focus = -1) {
  const one = page.about.shape === "choice";
  by("next-hint").textContent = page.left ? say(one ? "left_choice" : "left", whole(page.left)) : say("no_rows");
  by("queue").replaceChildren(...page.queue.map((each, at) => {
    const text = Object.values(each.row).filter((value) => typeof value === "string").find((value) => value.trim()) ?? "";
    const media = MEDIA.find((column) => each.row[column]);
    const told = el("span", { dir: "auto", className: "row-text" }, media ? say(media) : text.slice(0, 160));
    const button = el("button", { type: "button", onclick: () => { open(at); by("answer").scrollIntoView({ block: "nearest" }); } }, told, el("small", {}, `${inWords(each.answer, textOf(each.row))} · ${say("unsure", share(each.unsure))}`));
    button.tabIndex = at === Math.max(page.open ?? 0, 0) ? 0 : -1;
    if (at === page.open) button.setAttribute("aria-current", "true");
    return el("li", {}, button);
  }));
  if (focus >= 0) by("queue").querySelectorAll("button")[focus]?.focus();
}

function open(at) {
  const each = page.queue[at];
  if (!each) return;
  page.open = at;
  put(each.row);
  const { row, unsure, ...said } = each;
  answered(row, said, page.ahead);
  listed(by("next").contains(document.activeElement) ? at : -1);
}

/** After a correction: its row leaves the queue, and the next one comes, unless somebody is at another one already. */
function answeredNext(row, here) {
  const at = page.queue.findIndex((each) => each.row === row);
  if (at < 0) return;
  const inside = by("next").contains(document.activeElement);
  const told = by("kept").textContent;
  page.queue.splice(at, 1);
  page.left -= 1;
  if (!here) {
    if (page.open > at) page.open -= 1;
    listed(inside ? page.open ?? 0 : -1);
    return;
  }
  page.open = null;
  if (!page.queue.length) {
    filled().then(() => { if (inside) (by("queue").querySelector("button") ?? by("more")).focus(); });
    return;
  }
  const next = Math.min(at, page.queue.length - 1);
  open(next);
  if (inside) listed(next);
  else by("choices").querySelector("input:checked, textarea, [contenteditable]")?.focus();
  by("kept").textContent = told;
}

function onQueueKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
  const at = [...by("queue").querySelectorAll("button")].indexOf(document.activeElement);
  if (step && at >= 0) {
    event.preventDefault();
    open(Math.max(0, Math.min(page.queue.length - 1, page.open === null ? at : at + step)));
  } else if (/^[1-9]$/.test(event.key) && page.open !== null && page.digit?.(event.key - 1) && page.about.shape === "choice") {
    event.preventDefault();
    keep();
  } else if (event.key === "Enter" && page.open === at && page.about.shape !== "choice") {
    event.preventDefault();
    by("choices").querySelector("input, textarea, [contenteditable]")?.focus();
  }
}

// --- what became of it

const learnt = () => tried(async () => {
  const found = await ofModel("curve");
  if (found === undefined) return;
  by("learnt").hidden = !found;
  by("curve").replaceChildren(...(found ? curve(found) : []));
});

const drifted = () => tried(async () => {
  const all = await perhaps("v1/drift");
  const found = all?.drift?.[page.about.name] ?? [];
  by("drifted").hidden = !found.length;
  by("drift").replaceChildren(...drift(found));
});

const versions = () => tried(async () => {
  const found = await ofModel("versions");
  if (found === undefined) return;
  by("kept-versions").hidden = !found;
  if (!found) return;
  const head = el("tr", {}, ...["version", "method", "rows", "date"].map((each) => el("th", { scope: "col", className: each === "rows" ? "number" : "" }, say(each))), el("td", {}));
  const rows = found.versions.map((each) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, each.version)), el("td", {}, each.method), el("td", { className: "number", title: say("rows") }, each.rows === null ? "" : whole(each.rows)), el("td", {}, time(each.date)),
    el("td", {}, each.current ? el("strong", {}, say("answers")) : el("button", { type: "button", "aria-label": `${say("promote")} ${each.version}`, onclick: () => place(say("sure_promote", each.version), "v1/promote", { version: each.version }) }, say("promote")))));
  const came = found.history.some((each) => each.to === found.versions.find((one) => one.current)?.version);
  const history = found.history.slice(-20).reverse().map((each) => el("li", { dir: "auto" }, `${time(each.at)}: ${each.from ?? ""} → ${each.to ?? each.kept ?? ""}. ${each.why ?? ""}`));
  by("versions").replaceChildren(
    el("table", { className: "cards" }, el("thead", {}, head), el("tbody", {}, ...rows)),
    ...(came ? [el("p", { className: "row" }, el("button", { type: "button", onclick: () => place(say("sure_roll_back"), "v1/rollback", {}) }, say("roll_back")))] : []),
    ...(history.length ? [el("details", {}, el("summary", {}, say("history")), el("ul", {}, ...history))] : []));
});

/** After a yes, put a version into the model's place and wait until it answers. */
async function place(sure, path, body) {
  by("sure-what").textContent = sure;
  if ((await closed(by("sure"))) !== "yes") return;
  await tried(async () => {
    by("placed").textContent = say("placing");
    const { to } = await service(path, { model: page.about.name, ...body }).catch((problem) => {
      by("placed").textContent = "";
      throw problem;
    });
    for (let looks = 0; looks < 60 && page.about.version !== to; looks += 1) {
      await new Promise((done) => { setTimeout(done, 500); });
      await known();
    }
    by("placed").textContent = page.about.version === to ? say("came_back", to) : say("not_placed", to);
    await Promise.all([versions(), learnt(), filled()]);
  }, by("versions"));
}

// --- the page

async function known() {
  page.models = (await service("v1/models")).models;
  page.about = page.models.find((each) => each.name === page.about?.name) ?? page.models[0];
  by("about").textContent = [page.about.task, page.about.method, page.about.version].join(" · ");
}

async function turned() {
  page.about = page.models.find((each) => each.name === by("model").value);
  Object.assign(page, { given: null, asked: null, said: null, queue: [], open: null });
  for (const each of ["answer", "correct", "next", "learnt", "drifted", "kept-versions"]) by(each).hidden = true;
  by("placed").textContent = "";
  await tried(async () => {
    await known();
    fields();
    page.keeps = (await perhaps("v1/corrections?limit=1")) !== null;
  });
  await Promise.all([filled(), learnt(), drifted(), versions()]);
}

for (const each of document.querySelectorAll("[data-said]")) each.textContent = say(each.dataset.said);
by("ask").addEventListener("input", () => { page.given = null; });
by("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
by("clear").addEventListener("click", () => {
  put({});
  page.given = null;
  by("fields").querySelector("textarea, input")?.focus();
});
by("why").addEventListener("click", why);
by("correction").addEventListener("submit", (event) => {
  event.preventDefault();
  keep();
});
for (const id of ["ask", "correction", "next"]) {
  by(id).addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (id === "ask") ask();
    else if (page.asked) keep();
  });
}
by("correction").addEventListener("keydown", (event) => {
  const writes = event.target.matches("textarea");
  if (!writes && !event.ctrlKey && !event.metaKey && !event.altKey && /^[1-9]$/.test(event.key) && page.digit?.(event.key - 1)) event.preventDefault();
});
by("queue").addEventListener("keydown", onQueueKey);
by("more").addEventListener("click", filled);
by("model").addEventListener("change", turned);
by("key").addEventListener("cancel", (event) => event.preventDefault());

tried(async () => {
  await known();
  by("model").replaceChildren(...page.models.map((each) => el("option", { value: each.name }, each.name)));
  await turned();
});
