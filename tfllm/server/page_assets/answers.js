"use strict";

// Showing an answer by the names of its outputs: the signature contract of tfllm. What has other names is shown as JSON.

const kinds = new Map(); // entity -> number of its colour

function kind(name) {
  const plain = name.replace(/^[BIES]-/, "");
  if (!kinds.has(plain)) kinds.set(plain, kinds.size % 8);
  return kinds.get(plain);
}

function bar(name, share, best) {
  const box = draw("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" });
  box.append(draw("rect", { width: Math.max(0.5, Math.min(1, share) * 100), height: 12 }));
  const figure = make("span", { class: "number" }, `${(share * 100).toFixed(1)} %`);
  return make("div", { class: best ? "row best" : "row" }, make("span", { title: name }, name || "(not predicted)"), box, figure);
}

// Bars, the highest first; `best` says which are the answer.
function bars(names, scores, best) {
  const order = scores.map((_, index) => index).sort((one, other) => scores[other] - scores[one]).slice(0, 12);
  const rows = order.map((index) => bar(names[index] ?? `class ${index}`, scores[index], best(index)));
  const hidden = scores.length - order.length;
  if (hidden > 0) rows.push(make("p", { class: "quiet" }, `and ${hidden} more`));
  return rows;
}

// A text with parts of it marked; `spans` are {start, end, name, color, title}, counted in code points.
function marked(text, spans) {
  const letters = Array.from(text);
  const place = make("p", { class: "text" });
  let at = 0;
  for (const span of [...spans].sort((one, other) => one.start - other.start)) {
    if (span.start < at || span.end <= span.start) continue;
    place.append(letters.slice(at, span.start).join(""));
    const item = make("mark", { class: `k${span.color}`, title: span.title }, letters.slice(span.start, span.end).join(""));
    if (span.name) item.append(make("small", {}, span.name));
    place.append(item);
    at = span.end;
  }
  place.append(letters.slice(at).join(""));
  return place;
}

function entities(row, text) {
  const used = row.count ?? row.entity.length;
  const spans = row.entity.slice(0, used).map((name, index) => ({
    start: row.start[index], end: row.end[index], name, color: kind(name),
    title: `${name}, ${(row.score[index] * 100).toFixed(1)} %`,
  })).filter((span) => span.name);
  const found = [...new Set(spans.map((span) => span.name.replace(/^[BIES]-/, "")))];
  const key = make("p", { class: "legend" }, ...found.map((name) => make("span", {}, make("i", { class: `key k${kind(name)}` }), name)));
  return spans.length ? [marked(text, spans), key] : [marked(text, []), make("p", { class: "quiet" }, "No entities found.")];
}

function embedding(values) {
  const most = Math.max(...values.map(Math.abs), 1e-9);
  const box = draw("svg", { class: "spark", viewBox: `0 0 ${values.length} 40`, preserveAspectRatio: "none", role: "img", "aria-label": "the values of the embedding" });
  values.forEach((value, index) => {
    const size = (Math.abs(value) / most) * 20;
    box.append(draw("rect", { x: index, width: 0.8, y: value > 0 ? 20 - size : 20, height: Math.max(0.2, size), fill: `var(--c${value > 0 ? 0 : 1})` }));
  });
  const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return [box, make("p", { class: "quiet" }, `${values.length} values, length ${length.toFixed(3)}`)];
}

function multiLabel(row, labels) {
  const names = labels.length ? labels : row.labels; // without a contract, those that were predicted have a name
  return bars(names, row.scores, (index) => Boolean(names[index]) && row.labels.includes(names[index]));
}

function masks(row) {
  return row.token.flatMap((tokens, index) => !tokens[0] ? [] : [
    make("p", { class: "quiet" }, `mask ${index + 1}`),
    ...bars(tokens, row.score[index], (place) => place === 0),
  ]);
}

// Return the nodes that show one row of outputs: output name -> its value for this row.
function show(row, inputs, labels) {
  const has = (...names) => names.every((name) => name in row);
  if (has("entity", "start", "end", "score")) return entities(row, inputs.text ?? "");
  if (has("answer", "start", "end")) {
    if (!row.answer) return [make("p", { class: "big" }, "No answer found"), marked(inputs.context ?? "", [])];
    const span = { start: row.start, end: row.end, color: 0, title: row.score === undefined ? "" : `${(row.score * 100).toFixed(1)} %` };
    const score = row.score === undefined ? "" : ` ${(row.score * 100).toFixed(1)} %`;
    return [make("p", { class: "big" }, row.answer, make("small", { class: "quiet" }, score)), marked(inputs.context ?? "", [span])];
  }
  if (has("token", "score")) return masks(row);
  if (has("labels", "scores")) return multiLabel(row, labels);
  if (has("label", "scores")) return bars(labels, row.scores, (index) => (labels[index] ?? "") === row.label);
  if (has("label", "score")) return bars([row.label], [row.score], () => true);
  if (has("embedding")) return embedding(row.embedding);
  if (has("value")) return [make("p", { class: "big" }, Number(row.value).toPrecision(4))];
  if (has("score") && typeof row.score === "number") return [make("p", { class: "big" }, row.score.toPrecision(4))];
  return [make("pre", {}, JSON.stringify(row, null, 1))];
}
