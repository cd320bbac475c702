// The fields for a row, as the model's task has it.
import { el } from "./drawing.js";
import { live } from "./live.js";
import { asUrl, recording, shown, soundOf } from "./recording.js";
import { MEDIA, by, page, tried } from "./service.js";
import { say } from "./words.js";

const placed = (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isInteger);
const lines = (value) => Array.isArray(value) && value.every((each) => typeof each === "string");

/** A field for each column that the sample has, for sounds and pictures, and one for all others. */
export function fields() {
  const { sample, columns, media } = page.about;
  const simple = columns.filter((column) => column in sample);
  page.fields = {};
  const made = simple.map((column) => field(column, sample[column], simple.length > 1));
  made.push(...columns.filter((column) => MEDIA.includes(column)).map((column) => fileField(column, column === media)));
  const rest = columns.filter((column) => !(column in page.fields));
  if (rest.length) made.push(restField(rest));
  by("fields").replaceChildren(...made);
}

function field(column, sample, filled) {
  const id = `field-${column}`;
  const text = typeof sample === "string";
  const listed = lines(sample);
  const area = el("textarea", { id, rows: text && column !== "question" ? 4 : 2, dir: "auto", spellcheck: false });
  if (listed) area.rows = sample.length;
  const show = (value) => (typeof value === "string" ? value : lines(value) ? value.join("\n") : JSON.stringify(value));
  area.value = filled ? show(sample) : "";
  if (!filled) area.placeholder = show(sample);
  page.fields[column] = {
    read: () => {
      if (!area.value.trim()) return undefined;
      if (text) return area.value;
      if (listed) return area.value.split("\n").map((each) => each.trim()).filter(Boolean);
      try {
        return JSON.parse(area.value);
      } catch {
        throw new Error(say("not_json", say(column)));
      }
    },
    write: (value) => { area.value = value === undefined || value === null ? "" : show(value); },
  };
  const several = !text && Array.isArray(sample) && sample.length > 0 && sample.every(placed);
  const picks = placed(sample) || several;
  const pick = picks ? el("button", { type: "button", onclick: () => picked(column, several) }, say("selection")) : null;
  const keys = column === "text" ? say("ask_keys") : listed ? say("lines") : "";
  return el("p", { className: "field" }, el("label", { htmlFor: id }, say(column), " ", el("small", {}, keys)), area, pick);
}

/** Put the selection of the text into a column that holds places. */
function picked(column, several) {
  const area = by("field-text");
  const range = [area.selectionStart, area.selectionEnd].map((unit) => [...area.value.slice(0, unit)].length);
  if (range[0] === range[1]) return;
  const held = several ? page.fields[column].read() ?? [] : [];
  page.fields[column].write(several ? [...held, range] : range);
  page.given = null;
}

function fileField(column, needed) {
  const id = `field-${column}`;
  let held;
  const preview = el("div", {});
  const write = (value) => {
    held = value ?? undefined;
    preview.replaceChildren(...(held ? [seen(column, held)] : []));
  };
  const input = el("input", { id, type: "file", accept: `${column}/*` });
  input.onchange = () => tried(async () => {
    const [file] = input.files;
    page.given = null;
    write(file && (column === "audio" ? await soundOf(file) : await asUrl(file)));
  });
  page.fields[column] = { read: () => held, write: (value) => { input.value = ""; write(value); } };
  const inside = [el("label", { htmlFor: id }, say(column)), input, column === "audio" ? recorder(write) : null, preview];
  return needed ? el("div", { className: "field" }, ...inside) : el("details", {}, el("summary", {}, say(column)), el("div", { className: "field" }, ...inside));
}

function recorder(write) {
  let end = null;
  const button = el("button", { type: "button" }, say("record"));
  const words = el("p", { className: "text heard", dir: "auto" });
  const heard = async (microphone) => (page.about.live ? live(microphone, page.about.name, (text) => { words.textContent = text; }) : () => {});
  button.onclick = () => tried(async () => {
    if (end) {
      const ended = end;
      end = null;
      button.textContent = say("record");
      page.given = null;
      write(await ended());
      return;
    }
    words.textContent = "";
    end = await recording(heard).catch(() => { throw new Error(say("not_recorded")); });
    button.textContent = say("listening");
  });
  return el("div", {}, button, words);
}

export function seen(column, held) {
  const src = shown(column, held);
  return column === "audio" ? el("audio", { controls: true, src }) : el("img", { src, alt: say("image") });
}

function restField(columns) {
  const area = el("textarea", { id: "field-rest", rows: 2, dir: "auto", spellcheck: false, placeholder: `{"${columns[0]}": …}` });
  page.fields[""] = {
    read: () => {
      if (!area.value.trim()) return {};
      try {
        return { ...JSON.parse(area.value) };
      } catch {
        throw new Error(say("not_json", say("columns")));
      }
    },
    write: (value) => { area.value = value && Object.keys(value).length ? JSON.stringify(value) : ""; },
  };
  return el("details", {}, el("summary", {}, say("columns")), el("p", { className: "field" }, el("label", { htmlFor: "field-rest" }, columns.join(", ")), area));
}

/** The row that stands in the fields: the very one that was put there, unless something was changed. */
export function written() {
  if (page.given) return page.given;
  const row = { ...(page.fields[""]?.read() ?? {}) };
  for (const [column, each] of Object.entries(page.fields)) {
    const value = column && each.read();
    if (value) row[column] = value;
  }
  if (!Object.keys(row).length) throw new Error(say("missing"));
  return row;
}

export function put(row) {
  const rest = Object.fromEntries(Object.entries(row).filter(([column]) => !(column in page.fields)));
  for (const [column, each] of Object.entries(page.fields)) each.write(column ? row[column] : rest);
  page.given = row;
}
