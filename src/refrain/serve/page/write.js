// The text, and the candidates for its next token at the caret.

import { call } from "./api.js";
import { bar, columnsFor, get, latest, make, named, percent, visible } from "./elements.js";

const COUNT = 8;
const WAIT = 80;
const SPEAK_WAIT = 900;
const HINTS = {
  take: "Tab takes the first candidate. To leave the field, press Escape, then Tab.",
  leave: "Tab leaves the field; type to get candidates again.",
};

const area = get("text");
let models = [];
// what the candidates of the first model belong to, and whether Tab leaves the field
let offered = null, dismissed = false, takeNext = false, pending = false;

/** What is before the caret: the part that is read, and the letters of a word that is being typed. */
function place(model) {
  const before = area.value.slice(0, area.selectionStart);
  const typed = model.unit === "word" ? before.match(/\S*$/)[0] : "";
  return { before, typed, text: before.slice(0, before.length - typed.length) };
}

/** Put a candidate where the caret is, instead of the letters that it begins with. */
function take(model, candidate) {
  const { before, typed } = place(model);
  const after = area.value.slice(area.selectionEnd);
  const blank = model.unit === "word" && candidate.text !== "\n" && !/^\s/.test(after) ? " " : "";
  area.focus();
  area.setSelectionRange(before.length - typed.length, area.selectionEnd);
  // as if it were typed, so that the browser can undo it
  if (!document.execCommand("insertText", false, candidate.text + blank)) {
    area.setRangeText(candidate.text + blank, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input"));
  }
}

function row(model, candidate, largest, first) {
  const name = named(candidate.token, candidate.text);
  const button = make("button", { type: "button", "aria-label": visible(`take ${name}, ${percent(candidate.probability)}`) });
  const key = first ? [make("kbd", { "aria-hidden": "true" }, "Tab")] : [];
  button.append(make("span", { class: "named" }, make("span", { class: "word" }, name), ...key), bar(candidate.probability, largest),
    make("span", { class: "number" }, percent(candidate.probability)));
  button.addEventListener("click", () => take(model, candidate));
  return make("li", {}, button);
}

function show(body, model, typed, found, isFirst) {
  const rows = found.candidates.map((each, index) => row(model, each, found.candidates[0].probability, isFirst && index === 0));
  const parts = [make("ol", { class: "candidates" }, ...rows)];
  if (!rows.length) parts[0] = make("p", {}, `No word of the vocabulary begins with \u201c${typed}\u201d.`);
  if (found.unknown) {
    const [count, verb] = found.unknown === 1 ? ["1 token", "is"] : [`${found.unknown} tokens`, "are"];
    parts.push(make("p", { class: "soft" }, `${count} of the text before it ${verb} not in the vocabulary.`));
  }
  body.replaceChildren(...parts);
}

async function ask(model, column, signal, isFirst) {
  const { before, typed, text } = place(model);
  const body = { model: model.name, text, beginning: typed, count: COUNT, allow_unknown: false };
  try {
    const found = await call("/next", body, signal);
    column.complain("");
    show(column.body, model, typed, found, isFirst);
    if (isFirst) offer(model, before, found.candidates);
  } catch (error) {
    if (signal.aborted) return;
    column.complain(error.message);
    column.body.replaceChildren();
    if (isFirst) offer(model, before, []);
  }
}

function offer(model, before, candidates) {
  offered = { model, before, candidates };
  pending = false;
  speak();
  if (!takeNext) return;
  takeNext = false;
  if (candidates.length) take(model, candidates[0]);
}

const speak = latest(SPEAK_WAIT, () => {
  const said = offered.candidates.slice(0, 3).map(each => `${named(each.token, each.text)}, ${percent(each.probability)}`);
  get("spoken").textContent = visible(said.length ? `Next: ${said.join("; ")}` : "No candidates");
});

const update = latest(WAIT, async signal => {
  const columns = columnsFor(get("candidates"), models);
  await Promise.all(models.map((model, index) => ask(model, columns[index], signal, index === 0)));
  if (!signal.aborted) performance.mark("candidates");
});

function changed(wait) {
  pending = true;
  takeNext = false;
  dismiss(false);
  update(wait);
}

function dismiss(value) {
  dismissed = value;
  get("hint").textContent = models.length ? HINTS[dismissed ? "leave" : "take"] : "";
}

/** Ask these language models for candidates, which may be none. */
export function writeWith(chosen) {
  models = chosen;
  get("next").hidden = !models.length;
  offered = null;
  pending = takeNext = false;
  if (models.length) changed(0);
  else dismiss(true);
}

/** Listen to the text; `heard` is called when it has changed. */
export function listenToText(heard) {
  let caret = 0;
  area.addEventListener("input", () => {
    caret = area.selectionStart;
    if (models.length) changed();
    heard();
  });
  document.addEventListener("selectionchange", () => {
    if (document.activeElement !== area || area.selectionStart === caret) return;
    caret = area.selectionStart;
    if (models.length) changed();
  });
  area.addEventListener("keydown", event => {
    if (event.key === "Escape") dismiss(true);
    if (event.key !== "Tab" || event.shiftKey || event.altKey || event.ctrlKey || event.metaKey) return;
    if (dismissed || !models.length) return;
    if (pending) {
      // the candidates of what was typed last are on their way
      takeNext = true;
      event.preventDefault();
    } else if (offered?.candidates.length && offered.before === place(offered.model).before) {
      event.preventDefault();
      take(offered.model, offered.candidates[0]);
    }
  });
}
