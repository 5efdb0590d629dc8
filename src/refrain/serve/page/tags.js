// The text with the tags of a tagger.

import { call } from "./api.js";
import { columnsFor, get, inspect, latest, make, percent, visible } from "./elements.js";

const WAIT = 200;
const COLOURS = 12;
const OUTSIDE = "O";
const box = get("tags").querySelector(".columns");
let models = [];

/** A tag without the letter that says which word of a phrase it is on. */
const base = tag => tag.replace(/^[BILUSEM][-_]/, "");

/** The colour of each tag of a tagger; the tags of a phrase have one colour. */
function colours(model) {
  const bases = [...new Set(model.tags.filter(tag => tag !== OUTSIDE).map(base))];
  return new Map(bases.map((tag, place) => [tag, `t${place % COLOURS}`]));
}

function show(body, model, sentences) {
  const colour = colours(model);
  const list = make("div", { class: "heat", role: "listbox", "aria-label": "Words with their tags", "aria-orientation": "horizontal" });
  const line = make("p", { class: "inspector", "aria-live": "polite" });
  const texts = new Map();
  for (const sentence of sentences) {
    if (texts.size) list.append(make("span", { class: "break" }));
    for (const { word, tag, probability } of sentence) {
      const outside = tag === OUTSIDE;
      const part = make("span", { class: `cell ${outside ? "" : colour.get(base(tag))}`, role: "option", tabindex: texts.size ? -1 : 0, "data-part": texts.size });
      part.append(make("span", { class: "word" }, word), " ", make("span", { class: "number" }, outside ? "\u00a0" : tag));
      texts.set(part, `\u201c${word}\u201d: ${tag}, probability ${percent(probability)}`);
      list.append(part);
    }
  }
  const empty = make("p", { class: "soft" }, "Type a text to see the tags of its words.");
  inspect(list, part => { line.textContent = visible(texts.get(part)); });
  line.textContent = "Point at a word, or go to it with Tab and the arrow keys, to see its tag and how probable it is.";
  body.replaceChildren(...(texts.size ? [list, line] : [empty]));
}

const update = latest(WAIT, async signal => {
  const columns = columnsFor(box, models);
  const text = get("text").value;
  await Promise.all(models.map(async (model, index) => {
    const { body, complain } = columns[index];
    try {
      const request = { model: model.name, text, probabilities: true };
      const sentences = text.trim() ? (await call("/tag", request, signal)).sentences : [];
      if (signal.aborted) return;
      complain("");
      show(body, model, sentences);
    } catch (error) {
      if (signal.aborted) return;
      complain(error.message);
      body.replaceChildren();
    }
  }));
});

/** Tag the text with these taggers. */
export function tagWith(chosen) {
  models = chosen;
  get("tags").hidden = !models.length;
  if (models.length) tag();
}

/** Tag the text again once it rests. */
export function tag() {
  if (models.length) update();
}
