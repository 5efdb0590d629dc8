// Elements of the page. Texts of users and models enter it here alone, as text: markup in them is shown.

// control characters, halves of surrogate pairs, and signs that are invisible or change the direction of a line
const HIDDEN = /[\p{Cc}\p{Cs}\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

/** The element with an id. */
export const get = id => document.getElementById(id);

/** A text with its hidden characters as visible signs; line ends and tabs stay. */
export function visible(text) {
  return text.replace(HIDDEN, sign => {
    const code = sign.codePointAt(0);
    if (code === 9 || code === 10) return sign;
    if (code < 32) return String.fromCodePoint(0x2400 + code);
    if (code === 127) return "\u2421";
    return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
  });
}

/** A new element: its attributes, and its children, of which strings become text. */
export function make(name, attributes = {}, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.append(...children.map(child => (typeof child === "string" ? visible(child) : child)));
  return found;
}

/** A new element of SVG with its attributes. */
export function draw(name, attributes, ...children) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.append(...children);
  return found;
}

/** A probability as a percentage with about three digits. */
export function percent(probability) {
  const value = 100 * probability;
  if (value > 0 && value < 0.001) return "<0.001%";
  return `${value.toFixed(value >= 10 || value === 0 ? 1 : value >= 0.1 ? 2 : 3)}%`;
}

/** A number with some digits after the point. */
export const digits = (value, count) => value.toFixed(count).replace("-", "\u2212");

/** A token as a reader sees it: its text without blanks around it, or a sign where nothing else is left. */
export function named(token, text) {
  if (text === "\n") return "\u21b5 line end";
  if (text === " ") return "\u2423 blank";
  return text.trim() || token;
}

/** A bar whose length is a probability, where the largest one of a list fills the width. */
export function bar(probability, largest) {
  const filled = draw("rect", { width: `${Math.max(0.4, 100 * probability / largest)}%`, height: "100%" });
  return draw("svg", { class: "bar", "aria-hidden": "true" }, filled);
}

/** A list of candidates, each with its bar and its probability. `chosen` is the id of the token that was drawn. */
export function ranking(candidates, chosen) {
  const rows = candidates.map(each => {
    const row = make("li", each.id === chosen ? { class: "chosen" } : {});
    row.append(make("span", { class: "word" }, named(each.token, each.text)), bar(each.probability, candidates[0].probability),
      make("span", { class: "number" }, percent(each.probability)));
    return row;
  });
  return make("ol", { class: "ranking" }, ...rows);
}

/** A choice of a list. */
export function option(value, text) {
  const found = make("option", {}, text);
  found.value = value;
  return found;
}

/** Offer the layers of a model in a list. The last one is another layer in a model with more or fewer of them. */
export function offerLayers(select, sizes) {
  const layers = sizes.map((size, layer) => option(layer, `${layer} (${size.toLocaleString("en")} units)`));
  select.replaceChildren(option("", "last"), ...layers);
}

/** A column for each model, with its name where there are several. The columns of models that stay are kept. */
export function columnsFor(box, models) {
  const names = models.map(model => model.name);
  const shown = [...box.children].map(column => column.dataset.model);
  if (JSON.stringify(names) !== JSON.stringify(shown)) {
    box.replaceChildren(...names.map(name => {
      const column = make("div", { class: "column" }, ...(names.length > 1 ? [make("h3", {}, name)] : []),
        make("p", { class: "error", role: "alert" }), make("div", { class: "body" }));
      column.dataset.model = name;
      return column;
    }));
  }
  return [...box.children].map(column => ({
    body: column.querySelector(".body"),
    complain: text => { column.querySelector(".error").textContent = visible(text); },
  }));
}

/**
 * A function that calls `work` with a signal once it was not called for some time, and gives up what is in work when it
 * is called again. The time can be given with a call.
 */
export function latest(usual, work) {
  let timer, controller;
  return (wait = usual) => {
    clearTimeout(timer);
    controller?.abort();
    controller = new AbortController();
    const { signal } = controller;
    timer = setTimeout(() => work(signal), wait);
  };
}

/**
 * Let a pointer, or the focus, choose one of the parts of a list, and show what is known of it. Tab reaches one of
 * them; the arrow keys, Home and End move among them.
 */
export function inspect(list, show) {
  const parts = () => [...list.querySelectorAll("[data-part]")];
  const choose = part => {
    list.querySelector(".current")?.classList.remove("current");
    part.classList.add("current");
    show(part);
  };
  list.addEventListener("pointerover", event => {
    const part = event.target.closest("[data-part]");
    if (part) choose(part);
  });
  list.addEventListener("focusin", event => {
    for (const part of parts()) part.tabIndex = part === event.target ? 0 : -1;
    choose(event.target);
  });
  list.addEventListener("keydown", event => {
    const all = parts(), place = all.indexOf(document.activeElement);
    const next = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0,
      End: all.length - 1 }[event.key];
    if (next === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    all[Math.max(0, Math.min(next, all.length - 1))]?.focus();
  });
}
