"use strict";

// The runs come as texts, and are put into the page as text: a name can hold markup, which is shown.

const columns = ["run", "state", "epoch", "train", "best valid", "curve", "tokens/s", "epoch left", "run left", "time", "what"];
const width = 96, height = 24;

function cell(text, name) {
  const found = document.createElement("td");
  found.textContent = text;
  if (name) found.className = name;
  return found;
}

function curve(values, label) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("width", width);
  picture.setAttribute("height", height);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", label);
  const low = Math.min(...values), high = Math.max(...values);
  const points = values.map((value, index) => {
    const x = 1 + (width - 2) * index / (values.length - 1);
    const y = high > low ? 1 + (height - 2) * (high - value) / (high - low) : height / 2;
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", "M" + points.join("L"));
  picture.append(line);
  return picture;
}

function row(run) {
  const found = document.createElement("tr");
  for (const name of columns) {
    const text = run.texts[name];
    if (name === "run") found.append(cell(text, "name"));
    else if (name === "state") found.append(cell(text, run.state));
    else if (name === "curve") {
      const empty = cell("", "");
      if (run.curve.length > 1) empty.append(curve(run.curve, `validation after each epoch: ${run.curve.join(", ")}`));
      found.append(empty);
    } else if (name === "epoch") {
      const epoch = cell(text, "");
      if (run.share !== null && run.state === "running") {
        const bar = document.createElement("progress");
        bar.max = 1;
        bar.value = run.share;
        bar.setAttribute("aria-label", `share of epoch ${run.epoch} that is done`);
        epoch.append(bar);
      }
      found.append(epoch);
    } else found.append(cell(text, ""));
  }
  return found;
}

function note(run) {
  const found = document.createElement("tr");
  const text = cell(run.note, "note");
  text.colSpan = columns.length;
  found.append(text);
  return found;
}

function show(document_) {
  document.getElementById("folder").textContent = document_.folder;
  document.getElementById("empty").hidden = document_.runs.length > 0;
  const rows = document_.runs.flatMap(run => run.state === "damaged" ? [row(run), note(run)] : [row(run)]);
  document.getElementById("body").replaceChildren(...rows);
}

async function update() {
  const status = document.getElementById("status");
  let seconds = 2;
  try {
    const answer = await fetch("runs.json");
    if (!answer.ok) throw new Error(`the answer has the status ${answer.status}`);
    const found = await answer.json();
    seconds = found.seconds;
    show(found);
    status.className = "";
    status.textContent = `updated at ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    status.className = "late";
    status.textContent = `The list is not up to date: refrain watch does not answer (${error.message}).`;
  }
  setTimeout(update, 1000 * seconds);
}

for (const name of columns) {
  const head = document.createElement("th");
  head.scope = "col";
  head.textContent = name;
  document.getElementById("head").append(head);
}
update();
