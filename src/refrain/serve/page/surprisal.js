// The surprisal of each word of the text, as a heat map with numbers.

import { call } from "./api.js";
import { columnsFor, get, inspect, latest, make, percent, visible } from "./elements.js";

const WAIT = 350;
/** The number of colours, of which each stands for so many bits. */
const LEVELS = 8, BITS = 2;

const box = get("surprisal").querySelector(".columns");
let models = [];

/** The colour of a surprisal. */
export function heat(bits) {
  return `h${bits === null ? LEVELS - 1 : Math.max(0, Math.min(LEVELS - 1, Math.floor(bits / BITS)))}`;
}

function about(word) {
  const bits = word.surprisal_bits;
  const parts = [bits === null ? "impossible by the model" : `${bits.toFixed(2)} bits, probability ${percent(2 ** -bits)}`];
  if (word.unknown) parts.push("not in the vocabulary");
  if (word.frequency !== null) parts.push(`${word.frequency.toLocaleString("en")} times in the training text`);
  if (word.entropy_bits !== null) parts.push(`entropy before it ${word.entropy_bits.toFixed(2)} bits`);
  return `\u201c${word.word}\u201d: ${parts.join("; ")}`;
}

function show(body, words) {
  if (!words.length) return body.replaceChildren(make("p", { class: "soft" }, "Type a text to see how surprising each of its words is."));
  const list = make("div", { class: "heat", role: "listbox", "aria-label": "Words with their surprisal", "aria-orientation": "horizontal" });
  const texts = new Map();
  for (const [index, word] of words.entries()) {
    if (index && word.sentence !== words[index - 1].sentence) list.append(make("span", { class: "break" }));
    const number = word.surprisal_bits === null ? "\u221e" : word.surprisal_bits.toFixed(1);
    const part = make("span", { class: `cell ${heat(word.surprisal_bits)}`, role: "option", tabindex: index ? -1 : 0, "data-part": index });
    part.append(make("span", { class: word.unknown ? "word unknown" : "word" }, word.word), " ", make("span", { class: "number" }, number));
    texts.set(part, about(word));
    list.append(part);
  }
  const line = make("p", { class: "inspector", "aria-live": "polite" });
  inspect(list, part => { line.textContent = visible(texts.get(part)); });
  const known = words.filter(word => word.surprisal_bits !== null);
  const total = known.reduce((sum, word) => sum + word.surprisal_bits, 0);
  const one = words.length === 1 ? "1 word" : `${words.length.toLocaleString("en")} words`;
  line.textContent = `${one}, ${total.toFixed(1)} bits, ${(total / words.length).toFixed(2)} bits per word`;
  body.replaceChildren(list, line);
}

const update = latest(WAIT, async signal => {
  const columns = columnsFor(box, models);
  const text = get("text").value;
  await Promise.all(models.map(async (model, index) => {
    const { body, complain } = columns[index];
    try {
      const request = { model: model.name, sentences: text.split("\n"), context: "document" };
      const words = text.trim() ? (await call("/surprisal", request, signal)).words : [];
      if (signal.aborted) return;
      complain("");
      show(body, words);
    } catch (error) {
      if (signal.aborted) return;
      complain(error.message);
      body.replaceChildren();
    }
  }));
});

/** Measure the text by these language models. */
export function measureWith(chosen) {
  models = chosen;
  get("surprisal").hidden = !models.length;
  if (models.length) measure();
}

/** Measure the text again once it rests. */
export function measure() {
  if (models.length) update();
}

for (let level = 0; level < LEVELS; level++) {
  const text = level === LEVELS - 1 ? `${level * BITS}+` : `${level * BITS}`;
  get("scale").append(make("span", { class: `step h${level}` }, text));
}
