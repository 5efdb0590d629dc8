// The page: which models it shows, and what happens when the text changes.

import { call, setToken } from "./api.js";
import { get, option, visible } from "./elements.js";
import { generateWith } from "./generate.js";
import { measure, measureWith } from "./surprisal.js";
import { tag, tagWith } from "./tags.js";
import { follow, followWith } from "./units.js";
import { listenToText, writeWith } from "./write.js";

const UNITS = { word: "words", byte: "bytes", character: "characters", subword: "pieces of words" };
let models = [];

function describe(model) {
  const unit = UNITS[model.unit] ?? `units of the kind ${model.unit}`;
  const kind = model.kind === "tagger" ? `tagger with ${model.tags.length} tags` : "language model";
  return `${model.name}: ${kind}, ${model.vocabulary.toLocaleString("en")} ${unit}, ` +
    `${model.parameters.toLocaleString("en")} parameters, ${model.weights}`;
}

/** Offer the models that can be shown beside the first: those of its kind. */
function offerBeside(first) {
  const others = models.filter(each => each.kind === first.kind && each.name !== first.name);
  get("beside-field").hidden = !others.length;
  const chosen = get("beside").value;
  get("beside").replaceChildren(option("", "none"), ...others.map(each => option(each.name, each.name)));
  get("beside").value = others.some(each => each.name === chosen) ? chosen : "";
}

function choose() {
  const first = models.find(each => each.name === get("model").value);
  offerBeside(first);
  const chosen = models.filter(each => each.name === get("beside").value);
  chosen.unshift(first);
  get("about").textContent = visible(chosen.map(describe).join(" \u00b7 "));
  const taggers = chosen.filter(each => each.kind === "tagger");
  const languageModels = chosen.filter(each => each.kind === "language-model");
  tagWith(taggers);
  writeWith(languageModels);
  measureWith(languageModels);
  generateWith(languageModels);
  followWith(languageModels);
}

async function connect() {
  try {
    models = (await call("/models")).models;
  } catch (error) {
    get("token-form").hidden = error.status !== 401;
    get("page-error").textContent = visible(error.message);
    if (error.status === 401) get("token").focus();
    return;
  }
  get("token-form").hidden = true;
  get("page-error").textContent = "";
  const label = each => (each.kind === "tagger" ? `${each.name} (tagger)` : each.name);
  get("model").replaceChildren(...models.map(each => option(each.name, visible(label(each)))));
  choose();
}

get("token-form").addEventListener("submit", event => {
  event.preventDefault();
  setToken(get("token").value.trim());
  get("token").value = "";
  connect();
});
get("model").addEventListener("change", choose);
get("beside").addEventListener("change", choose);
listenToText(() => {
  measure();
  tag();
  follow();
});
connect();
