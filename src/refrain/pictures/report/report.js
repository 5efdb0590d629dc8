"use strict";
// Exact values under the pointer or the arrow keys. They are read from the tables of numbers, which are in the page.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const LEFT = 52, RIGHT = 12, TOP = 10, BOTTOM = 32, WIDTH = 440, HEIGHT = 230;
  const tables = new Map();

  function rows(id) {
    if (!tables.has(id)) {
      const found = document.getElementById(id);
      tables.set(id, found ? [...found.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent)) : []);
    }
    return tables.get(id);
  }

  function lines(svg) {
    return [...svg.querySelectorAll("g[data-table]")].map(group => {
      const column = Number(group.dataset.column);
      const points = rows(group.dataset.table)
        .filter(row => row[column] !== "")
        .map(row => ({ x: Number(row[0]), y: Number(row[column]), text: row[column], at: row[0] }));
      return { name: group.dataset.name, colour: group.dataset.colour, points };
    }).filter(line => line.points.length);
  }

  function element(parent, name, attributes) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  function nearest(points, x) {
    let low = 0, high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle].x < x) low = middle; else high = middle;
    }
    return Math.abs(points[low].x - x) <= Math.abs(points[high].x - x) ? points[low] : points[high];
  }

  function begin(svg) {
    const [x0, x1] = svg.dataset.x.split(" ").map(Number);
    const [y0, y1] = svg.dataset.y.split(" ").map(Number);
    const share = "log" in svg.dataset ? y => Math.log(y / y0) / Math.log(y1 / y0) : y => (y - y0) / (y1 - y0);
    const across = x => LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
    const up = y => HEIGHT - BOTTOM - share(y) * (HEIGHT - BOTTOM - TOP);
    const found = lines(svg);
    if (!found.length) return;
    const places = [...new Set(found.flatMap(line => line.points.map(point => point.x)))].sort((a, b) => a - b);
    const cursor = svg.querySelector(".cursor");
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    svg.parentElement.append(tip);
    let current = -1;

    function show(index) {
      current = index;
      const x = places[index];
      cursor.replaceChildren();
      tip.replaceChildren();
      element(cursor, "path", { d: `M${across(x)} ${TOP}V${HEIGHT - BOTTOM}`, stroke: "currentColor", "stroke-opacity": .4 });
      const head = document.createElement("b");
      head.textContent = `${svg.dataset.across} ${x}`;
      tip.append(head);
      for (const line of found) {
        const point = nearest(line.points, x);
        element(cursor, "circle", { cx: across(point.x), cy: up(point.y), r: 3.5, class: `f${line.colour}` });
        const row = document.createElement("div");
        const name = document.createElement("span");
        const mark = element(name, "svg", { viewBox: "0 0 10 10" });
        element(mark, "circle", { cx: 5, cy: 5, r: 4, class: `f${line.colour}` });
        name.append(line.name + (point.x === x ? "" : ` (at ${point.at})`));
        const value = document.createElement("b");
        value.textContent = point.text;
        row.append(name, value);
        tip.append(row);
      }
      tip.hidden = false;
      const box = svg.getBoundingClientRect(), host = svg.parentElement.getBoundingClientRect();
      const pixel = across(x) / WIDTH * box.width;
      const room = host.width - tip.offsetWidth;
      const beside = pixel + 14 + tip.offsetWidth <= host.width ? pixel + 14 : pixel - 14 - tip.offsetWidth;
      tip.style.left = `${Math.max(0, Math.min(room, beside))}px`;
      tip.style.top = `${box.top - host.top + 6}px`;
      svg.setAttribute("aria-description", tip.innerText);
    }

    function hide() {
      tip.hidden = true;
      current = -1;
      cursor.replaceChildren();
    }

    function at(event) {
      const box = svg.getBoundingClientRect();
      const x = x0 + ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * (x1 - x0);
      let best = 0;
      for (let index = 1; index < places.length; index++) {
        if (Math.abs(places[index] - x) < Math.abs(places[best] - x)) best = index;
      }
      show(best);
    }

    svg.addEventListener("pointermove", at);
    svg.addEventListener("pointerdown", at);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", event => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -places.length, End: places.length };
      if (event.key === "Escape") hide();
      if (!(event.key in steps)) return;
      event.preventDefault();
      const from = current < 0 ? (steps[event.key] > 0 ? -1 : places.length) : current;
      show(Math.max(0, Math.min(places.length - 1, from + steps[event.key])));
    });
  }

  document.querySelectorAll("svg.plot").forEach(begin);
})();
