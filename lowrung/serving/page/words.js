// All that the page says, by language; another language is another entry with the same names.
const WORDS = {
  en: {
    again: "Look again",
    alarm: "alarm",
    answer: "Answer",
    answers: "answers now",
    ask: "Ask",
    ask_keys: "Ctrl+Enter asks",
    at_labels: (labels) => `${labels} labels`,
    audio: "A recording",
    blue_orange: "Blue words speak for it; orange ones, dotted, against it.",
    came_back: (version) => `${version} answers now.`,
    candidates: "Candidates",
    changed: (changes, answer, confidence) => `${changes}: ${answer} (${confidence})`,
    checks: "Checks",
    choose: "Choose the right answer first.",
    clear: "Clear",
    columns: "Further columns, as JSON",
    confidence: (share) => `Confidence ${share}`,
    correct: "Correct it",
    correct_keys: "1 to 9 choose, Ctrl+Enter keeps.",
    date: "made",
    drift: "Drift",
    drop: (what) => `Remove ${what}`,
    enter: "Enter",
    failed: "The service cannot be reached.",
    first: "First piece",
    history: "What was put in its place",
    image: "A picture",
    is_answer: "This is the answer",
    keep: "Keep correction",
    keeping: "Keeping …",
    kept: (number) => `Kept as correction ${number}.`,
    key: "This service asks for a key:",
    kinds: { meaning: "Meaning", letters: "Letters", length: "Length", confidence: "Confidence" },
    labels: "labelled rows",
    last: "last",
    learnt: "Learning curve",
    left: (number) => `Rows that wait for an answer: ${number}, the most useful first. ↑ ↓ or j k move, Enter opens, Ctrl+Enter keeps.`,
    left_choice: (number) => `Rows that wait for an answer: ${number}, the most useful first. ↑ ↓ or j k move; 1 to 9 answer, and the next one comes.`,
    lines: "one a line",
    listening: "Stop recording",
    mark: "Select a piece of the text (mouse, or arrows with Shift), then press a label or its digit. Delete removes the piece that the cursor is in.",
    marked: "Pieces that are marked",
    mended: (what) => `was “${what}”`,
    method: "method",
    missing: "A text is needed.",
    model: "Model",
    next: "Label next",
    no: "Cancel",
    no_answer: "no answer",
    no_edits: "Nothing was changed.",
    no_rows: "No row waits. “lowrung serve --raw FILE” brings rows here.",
    no_store: "Corrections are kept where the service has a store: lowrung serve --store sqlite:///corrections.db",
    no_span: "nothing marked",
    not_json: (what) => `${what}: this is no JSON.`,
    not_kept: (why) => `Not kept: ${why} Press again to try again; it is stored once.`,
    not_placed: (version) => `${version} does not answer yet; what keeps it stands on the service's standard error.`,
    not_recorded: "The microphone cannot be used.",
    numbers: "As numbers",
    one_of: "The right answer",
    options: "Options",
    others: "Other readings",
    placing: "It takes over …",
    probability: "p",
    promote: "Promote",
    pronoun: "Pronoun",
    question: "Question",
    record: "Record",
    right_text: "The right text",
    roll_back: "Roll back",
    rows: "rows",
    second: "Second piece",
    selection: "Take the selection of the text",
    several_of: "All that belong",
    span_none: "Nothing is marked: there is none.",
    sure_promote: (version) => `Put version ${version} into the model's place?`,
    sure_roll_back: "Put back the version that the current one took the place of?",
    text: "Text",
    text_pair: "Second text",
    try: "Try it",
    turns: "Turns so far",
    unsure: (share) => `unsure ${share}`,
    version: "version",
    versions: "Versions",
    why: "Why?",
    why_at: (what, value) => `${what}: ${value}`,
    working: "Working …",
    would_change: "What would change it",
    yes: "Yes",
  },
};

const chosen = navigator.languages.map((each) => each.split("-")[0]).find((each) => each in WORDS) ?? "en";
document.documentElement.lang = chosen;

/** What the page says under a name; the name itself where nothing is known. */
export function say(name, ...values) {
  const words = WORDS[chosen][name] ?? WORDS.en[name] ?? name;
  return typeof words === "function" ? words(...values) : words;
}

const formats = new Map();
const format = (style) => formats.get(style) ?? formats.set(style, new Intl.NumberFormat(chosen, style)).get(style);
const SHARE = { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 };
const NUMBER = { maximumSignificantDigits: 3 };
export const share = (value) => format(SHARE).format(value);
export const number = (value) => format(NUMBER).format(value);
export const whole = (value) => new Intl.NumberFormat(chosen).format(value);
export const time = (at) => {
  const when = new Date(at);
  return Number.isNaN(when.getTime()) ? String(at ?? "") : when.toLocaleString(chosen, { dateStyle: "medium", timeStyle: "short" });
};
