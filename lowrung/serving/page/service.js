// What all modules of the page share: its state, and how the service is asked.
import { say } from "./words.js";

export const MEDIA = ["audio", "image"];
export const by = (id) => document.getElementById(id);
export const page = { models: [], about: null, keeps: false, fields: {}, given: null, asked: null, said: null, right: null, sent: null, queue: [], open: null };

class Refused extends Error {
  constructor(status, told) {
    super(told);
    this.status = status;
  }
}

export async function service(path, body) {
  const key = sessionStorage.getItem("lowrung-key");
  const headers = { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...(body ? { "Content-Type": "application/json" } : {}) };
  let answer;
  try {
    answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Refused(0, say("failed"));
  }
  if (answer.status === 401) {
    await keyAsked();
    return service(path, body);
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, told.error ?? `${answer.status}`);
  return told;
}

let asking = null; // the key is asked for once, however many requests need it
function keyAsked() {
  asking ??= closed(by("key")).then(() => {
    sessionStorage.setItem("lowrung-key", by("key-value").value.trim());
    by("key-value").value = "";
    asking = null;
  });
  return asking;
}

/** Show a dialog until it is closed; its answer. */
export function closed(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}

/** Do what may fail; what went wrong is told above everything. */
export async function tried(work, ...busy) {
  by("trouble").hidden = true;
  busy.forEach((each) => each.setAttribute("aria-busy", "true"));
  try {
    return await work();
  } catch (problem) {
    by("trouble").textContent = problem.message;
    by("trouble").hidden = false;
    return null;
  } finally {
    busy.forEach((each) => each.removeAttribute("aria-busy"));
  }
}

/** What a path tells, null where this service or this model has no such thing. */
export const perhaps = (path) => service(path).catch((problem) => {
  if (problem.status !== 404) throw problem;
  return null;
});

/** The same of the model that is shown; undefined where another one is shown by then. */
export async function ofModel(path) {
  const { name } = page.about;
  const found = await perhaps(`v1/${path}${path.includes("?") ? "&" : "?"}model=${encodeURIComponent(name)}`);
  return page.about.name === name ? found : undefined;
}
