"use strict";

// Drawing: SVG elements, lines over time, small curves.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const item = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) item.setAttribute(name, value);
  item.append(...children);
  return item;
}

function draw(tag, attributes = {}, ...children) {
  const item = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) item.setAttribute(name, value);
  item.append(...children);
  return item;
}

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${Number((value * 1e3).toPrecision(value < 0.1 ? 2 : 3))} ms`;
  return `${Number(value.toPrecision(3))} s`;
}

function count(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(0)}k`;
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

// The smallest of 1, 2, 2.5, 5, 10 ... that a value fits under.
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => value <= step * 1.0001);
}

// A path through [x, y] points; a null in `values` breaks it.
function trace(values, x, y) {
  let path = "";
  let on = false;
  values.forEach((value, index) => {
    if (value !== null) path += `${on ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    on = value !== null;
    if (on && values[index + 1] === undefined && values[index - 1] === null) path += "h0.1";
  });
  return path;
}

function sparkline(values) {
  const top = Math.max(...values, 1e-9);
  const x = (index) => (index / (values.length - 1)) * 100;
  const y = (value) => 25 - (value / top) * 23;
  const path = draw("path", { d: trace(values, x, y), "vector-effect": "non-scaling-stroke" });
  return draw("svg", { class: "spark", viewBox: "0 0 100 26", preserveAspectRatio: "none", "aria-hidden": "true" }, path);
}

// The values at which a scale has lines, the lowest first, and where a value lies between them: 0 to 1.
function linear(highest) {
  const peak = highest > 0 ? ceiling(highest) : 1;
  return { ticks: [0, peak / 2, peak], place: (value) => value / peak };
}

function logarithmic(lowest, highest) {
  const from = Math.floor(Math.log10(lowest));
  const to = Math.max(from + 1, Math.ceil(Math.log10(highest)));
  const ticks = Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index));
  return { ticks, place: (value) => (Math.log10(value) - from) / (to - from) };
}

// A chart of lines over the last minutes. `lines` are {name, color, values}; `unit` writes a value; `log` is for values
// above zero that differ by far, such as a median and its tail.
function chart(place, lines, { step, end, unit, label, log }) {
  const width = place.clientWidth || 500;
  const height = place.clientHeight || 200;
  const left = 52, right = 6, top = 8, bottom = 22;
  const known = lines.flatMap((line) => line.values).filter((value) => value !== null);
  const highest = Math.max(0, ...known);
  const scale = log && known.length ? logarithmic(Math.min(...known), highest) : linear(highest);
  const size = lines.length ? lines[0].values.length : 1;
  const x = (index) => left + (index / Math.max(1, size - 1)) * (width - left - right);
  const y = (value) => top + (1 - scale.place(value)) * (height - top - bottom);
  const latest = lines.map((line) => `${line.name} ${unit(line.values.at(-1))}`).join(", ");
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label}, now: ${latest}` });
  for (const tick of scale.ticks) {
    const level = y(tick);
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: level, y2: level }));
    const text = draw("text", { x: left - 8, y: level + 4, "text-anchor": "end" });
    text.textContent = highest > 0 ? unit(tick) : "";
    svg.append(text);
  }
  for (const minutes of width > 420 ? [5, 4, 3, 2, 1, 0] : [4, 2, 0]) {
    const index = size - 1 - (minutes * 60) / step;
    const text = draw("text", { x: x(Math.max(0, index)), y: height - 5, "text-anchor": minutes ? "middle" : "end" });
    text.textContent = minutes ? `−${minutes} min` : "now";
    svg.append(text);
  }
  const group = draw("g", { class: "lines" });
  for (const line of lines) group.append(draw("path", { d: trace(line.values, x, y), stroke: `var(--c${line.color})` }));
  svg.append(group);
  const cursor = draw("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  svg.append(cursor);
  const tip = make("div", { class: "tip", hidden: "" });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const index = Math.round(((event.clientX - box.left - left) / (width - left - right)) * (size - 1));
    if (index < 0 || index >= size) return;
    const when = new Date((end - (size - 1 - index) * step) * 1000).toLocaleTimeString();
    tip.replaceChildren(when, ...lines.map((line) => {
      const row = make("div", {}, make("i", { class: `key k${line.color}` }), `${line.name} `, make("b", {}, unit(line.values[index])));
      return row;
    }));
    tip.hidden = false;
    const at = x(index);
    tip.style.left = at > width / 2 ? "" : `${at + 10}px`;
    tip.style.right = at > width / 2 ? `${width - at + 10}px` : "";
    for (const side of ["x1", "x2"]) cursor.setAttribute(side, at);
    cursor.setAttribute("visibility", "visible");
  });
  svg.addEventListener("pointerleave", () => {
    tip.hidden = true;
    cursor.setAttribute("visibility", "hidden");
  });
  place.replaceChildren(svg, tip);
  if (!known.some((value) => value > 0)) place.append(make("div", { class: "none" }, "no requests in the last five minutes"));
}

function legend(place, lines) {
  place.replaceChildren(...lines.map((line) => make("span", {}, make("i", { class: `key k${line.color}` }), line.name)));
}
