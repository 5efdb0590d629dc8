// Continuing the text token by token, with what else might have come at each token.

import { stream } from "./api.js";
import { columnsFor, get, inspect, make, named, offerLayers, option, percent, ranking } from "./elements.js";
import { heat } from "./surprisal.js";

const ALTERNATIVES = 5;
const box = get("generate").querySelector(".columns");
let models = [];
let running = null;

/** The settings as fields of a request. */
function settings() {
  const topP = Number(get("top-p").value);
  return {
    tokens: Number(get("tokens").value),
    temperature: Number(get("temperature").value),
    top_p: topP < 1 ? topP : null,
    seed: get("seed").value === "" ? Math.floor(Math.random() * 2 ** 31) : Number(get("seed").value),
    alternatives: ALTERNATIVES,
    allow_unknown: false,
  };
}

/** The unit that is held in a model: a number means another unit in another model. */
function held(model) {
  const unit = get("held-unit").value;
  const layer = get("held-layer").value;
  if (unit === "" || model.name !== get("held-model").value) return [];
  return [{ unit: Number(unit), layer: layer === "" ? null : Number(layer), value: Number(get("held-value").value) }];
}

/** The parts of a column in which a text grows. */
function page(body, prompt) {
  const tokens = make("span", { role: "listbox", "aria-label": "Generated tokens", "aria-orientation": "horizontal" });
  const text = make("p", { class: "generated", "aria-busy": "true" }, make("span", { class: "soft" }, prompt), tokens);
  const panel = make("div", { class: "inspector", "aria-live": "polite" });
  const status = make("p", { class: "soft status", role: "status" });
  const drawn = new Map();
  inspect(tokens, part => {
    const token = drawn.get(part);
    const probability = token.log_probability === null ? 0 : Math.exp(token.log_probability);
    panel.replaceChildren(make("p", {}, `\u201c${named(token.token, token.text)}\u201d had ${percent(probability)}. Most probable were:`),
      ranking(token.alternatives, token.id));
  });
  body.replaceChildren(text, panel, status);
  return { tokens, text, panel, status, drawn };
}

function add({ tokens, drawn }, token) {
  const bits = token.log_probability === null ? null : -token.log_probability / Math.LN2;
  const part = make("span", { class: `token ${heat(bits)}`, role: "option", tabindex: drawn.size ? -1 : 0, "data-part": drawn.size },
    token.text === "\n" ? "\u21b5\n" : token.text || "\u00b7");
  drawn.set(part, token);
  tokens.append(part);
}

async function generate(model, { body, complain }, request, signal) {
  complain("");
  const shown = page(body, request.prompt);
  shown.status.textContent = "Generating \u2026";
  let end = "";
  try {
    await stream("/generate", { ...request, clamp: held(model), model: model.name }, signal, (name, data) => {
      if (name === "token") add(shown, data);
    });
    end = `${shown.drawn.size} tokens, seed ${request.seed}.`;
  } catch (error) {
    end = `${shown.drawn.size} tokens, then stopped.`;
    if (!signal.aborted) complain(error.message);
  }
  shown.text.removeAttribute("aria-busy");
  shown.status.textContent = end;
  if (!shown.drawn.size) return;
  const hint = make("p", { class: "soft" }, "Point at a token, or go to it with Tab and the arrow keys, to see what else might have come.");
  shown.panel.replaceChildren(...(shown.panel.children.length ? shown.panel.children : [hint]));
  const keep = make("button", { type: "button", class: "plain" }, "Add to the text");
  keep.addEventListener("click", () => {
    const area = get("text");
    area.value = request.prompt + [...shown.drawn.values()].map(token => token.text).join("");
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
    area.dispatchEvent(new Event("input"));
  });
  shown.status.append(" ", keep);
}

async function start(event) {
  event.preventDefault();
  running?.abort();
  const own = running = new AbortController();
  const columns = columnsFor(box, models);
  const request = { prompt: get("text").value, ...settings() };
  get("stop").hidden = false;
  await Promise.all(models.map((model, index) => generate(model, columns[index], request, own.signal)));
  if (running !== own) return;
  get("stop").hidden = true;
  running = null;
}

/** Generate with these language models. */
export function generateWith(chosen) {
  running?.abort();
  models = chosen;
  get("generate").hidden = !models.length;
  box.replaceChildren();
  const withUnits = models.filter(model => model.hidden_sizes);
  get("held").hidden = !withUnits.length;
  get("held-model-field").hidden = withUnits.length < 2;
  get("held-model").replaceChildren(...withUnits.map(model => option(model.name, model.name)));
  offerHeldLayers();
}

function offerHeldLayers() {
  const model = models.find(each => each.name === get("held-model").value);
  if (model) offerLayers(get("held-layer"), model.hidden_sizes);
}

for (const name of ["temperature", "top-p"]) {
  const output = document.querySelector(`output[for="${name}"]`);
  const show = () => { output.textContent = Number(get(name).value).toFixed(2); };
  get(name).addEventListener("input", show);
  show();
}
get("held-model").addEventListener("change", offerHeldLayers);
get("generate-form").addEventListener("submit", start);
get("stop").addEventListener("click", () => running?.abort());
