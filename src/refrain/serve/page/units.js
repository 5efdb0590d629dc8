// The values of chosen units along the text.

import { call } from "./api.js";
import { columnsFor, digits, draw, get, inspect, latest, make, offerLayers, visible } from "./elements.js";

const WAIT = 500;
const LEVELS = 4;
const HEIGHT = 40;
// the units of a request, and those that `find` shows
const MOST = 100, SHOWN = 3;
const box = get("units").querySelector(".columns");
let models = [];

/** The colour of a value where the largest of all has some size. */
function colour(value, most) {
  const level = most ? Math.round(LEVELS * Math.abs(value) / most) : 0;
  return level ? `${value < 0 ? "n" : "p"}${level}` : "";
}

function curve(values, most, label) {
  const x = index => values.length > 1 ? 100 * (index + 0.5) / values.length : 50;
  const y = value => HEIGHT / 2 - (most ? value / most : 0) * (HEIGHT / 2 - 2);
  const points = values.map((value, index) => `${x(index).toFixed(2)} ${y(value).toFixed(2)}`);
  const cursor = draw("line", { class: "cursor", y1: 0, y2: HEIGHT, x1: -1, x2: -1 });
  const picture = draw("svg", { class: "curve", viewBox: `0 0 100 ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    draw("line", { class: "zero", x1: 0, x2: 100, y1: HEIGHT / 2, y2: HEIGHT / 2 }), cursor,
    draw("path", { d: `M${points.length > 1 ? points.join("L") : `0 ${y(values[0])}H100`}` }));
  return { picture, point: index => { cursor.setAttribute("x1", x(index)); cursor.setAttribute("x2", x(index)); } };
}

function unit(number, pieces, values) {
  const most = Math.max(...values.map(Math.abs));
  const range = `${digits(Math.min(...values), 2)} to ${digits(Math.max(...values), 2)}`;
  const { picture, point } = curve(values, most, `values of unit ${number} along the text, ${range}`);
  const list = make("p", { class: "followed", role: "listbox", "aria-label": `Tokens with the value of unit ${number}`, "aria-orientation": "horizontal" });
  const value = make("span", { class: "number", "aria-live": "polite" }, range);
  for (const [index, piece] of pieces.entries()) {
    list.append(make("span", { class: `token ${colour(values[index], most)}`, role: "option", tabindex: index ? -1 : 0, "data-part": index },
      piece === "\n" ? "\u21b5\n" : piece || "\u00b7"));
  }
  inspect(list, part => {
    const index = Number(part.dataset.part);
    point(index);
    value.textContent = visible(`${digits(values[index], 3)} after \u201c${pieces[index].trim()}\u201d`);
  });
  return make("div", { class: "unit" }, make("h4", {}, `Unit ${number} `, value), picture, list);
}

function show(body, found) {
  const values = found?.tokens.length ? found.units.map((number, place) => unit(number, found.pieces, found.values.map(row => row[place]))) : [];
  const empty = "Type a text to see the values of these units after each of its tokens.";
  body.replaceChildren(...(values.length ? values : [make("p", { class: "soft" }, empty)]));
}

/** The layer and the part of its state, as fields of a request. */
function settings() {
  const layer = get("unit-layer").value;
  return { layer: layer === "" ? null : Number(layer), state: get("unit-state").value || null };
}

const update = latest(WAIT, async signal => {
  const columns = columnsFor(box, models);
  const text = get("text").value;
  const units = [...new Set((get("unit-numbers").value.match(/\d+/g) ?? []).map(Number))];
  const request = { ...settings(), text, units };
  await Promise.all(models.map(async (model, index) => {
    const { body, complain } = columns[index];
    try {
      const found = text && units.length ? await call("/units", { ...request, model: model.name }, signal) : null;
      if (signal.aborted) return;
      complain(units.length ? "" : "Give the numbers of some units, for example 0, 7.");
      show(body, found);
    } catch (error) {
      if (signal.aborted) return;
      complain(error.message);
      body.replaceChildren();
    }
  }));
});

/** Follow units of these language models. */
export function followWith(chosen) {
  models = chosen.filter(model => model.hidden_sizes);
  get("units").hidden = !models.length;
  if (!models.length) return;
  offerLayers(get("unit-layer"), models[0].hidden_sizes);
  follow();
}

/** Follow the units again once the text rests. */
export function follow() {
  if (models.length) update();
}

/** Choose the units whose values differ most along the text, of all units of the layer in the first model. */
async function find() {
  const [model] = models;
  const { complain } = columnsFor(box, models)[0];
  const text = get("text").value;
  if (!text.trim()) return complain("Type a text first.");
  const layer = get("unit-layer").value;
  const size = layer === "" ? model.hidden_sizes.at(-1) : model.hidden_sizes[layer];
  const spreads = [];
  get("find").disabled = true;
  try {
    for (let first = 0; first < size; first += MOST) {
      const units = Array.from({ length: Math.min(MOST, size - first) }, (_, index) => first + index);
      const found = await call("/units", { ...settings(), model: model.name, text, units });
      spreads.push(...units.map((unit, place) => [unit, spread(found.values.map(row => row[place]))]));
    }
    const best = spreads.sort((one, other) => other[1] - one[1]).slice(0, SHOWN);
    get("unit-numbers").value = best.map(([unit]) => unit).join(", ");
    update(0);
  } catch (error) {
    complain(error.message);
  } finally {
    get("find").disabled = false;
  }
}

/** The variance of values. */
function spread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
}

// not with the event, which would be taken for a time
get("units-form").addEventListener("input", () => follow());
get("units-form").addEventListener("submit", event => event.preventDefault());
get("find").addEventListener("click", find);
