"use strict";

// The page: asks for the figures every two seconds, draws them, and lets a text be tried.

const $ = (id) => document.getElementById(id);
const state = { stats: null, chosen: "", token: sessionStorage.getItem("tfllm-token") ?? "", typed: new Map() };

async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}) };
  if (state.token) headers.Authorization = `Bearer ${state.token}`;
  return fetch(path, { ...options, headers, cache: "no-store" });
}

async function refresh() {
  try {
    const response = await ask("/tfllm/stats");
    $("token").hidden = ![401, 403].includes(response.status);
    if (!response.ok) throw new Error(`status ${response.status}`);
    state.stats = await response.json();
    showAll();
  } catch (error) {
    pill("bad", `no answer: ${error.message}`);
  }
  setTimeout(refresh, document.hidden ? 10000 : 2000);
}

function pill(look, text) {
  if ($("status").textContent === text) return; // a screen reader hears changes only
  $("status").className = `pill ${look}`;
  $("status").textContent = text;
}

function showAll() {
  const { server, models } = state.stats;
  const available = models.filter((model) => model.signatures);
  pill(server.ready ? "good" : "warn", server.ready ? "ready" : "loading");
  const hours = (server.now - server.started) / 3600;
  const up = hours >= 48 ? `${(hours / 24).toFixed(0)} days` : hours >= 1 ? `${hours.toFixed(1)} h` : `${Math.round(hours * 60)} min`;
  $("about").textContent = `version ${server.version} · ${available.length} of ${models.length} models available · up ${up}`;
  if (state.chosen && !models.some((model) => model.name === state.chosen)) state.chosen = "";
  showTiles();
  showCharts();
  showModels(models);
  offer(available);
}

function recent(series, name, steps = 5) {
  const values = (series?.[name] ?? []).slice(-steps).filter((value) => value !== null);
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}

function errorShare(series) {
  const requests = recent(series, "requests", 150);
  return requests ? recent(series, "errors", 150) / requests : null;
}

function percent(share) {
  return share === null ? "–" : `${(share * 100).toFixed(share > 0 && share < 0.1 ? 2 : 0)} %`;
}

function showTiles() {
  const series = state.stats.load.models[state.chosen];
  const tile = (name, text, hint) => make("div", { class: "tile", title: hint }, make("span", { class: "quiet" }, name), make("b", {}, text));
  $("tiles").replaceChildren(
    tile("Requests/s", count(recent(series, "requests") ?? 0), "the last 10 seconds"),
    tile("Texts/s", count(recent(series, "rows") ?? 0), "rows that the graphs were given, the last 10 seconds"),
    tile("Errors", percent(errorShare(series)), "of the requests of the last five minutes"),
    tile("Median", seconds(recent(series, "p50")), "half of the answers are faster; the last 10 seconds"),
    tile("p99", seconds(recent(series, "p99")), "1 in 100 answers is slower; the last 10 seconds"),
    tile("Waiting", seconds(recent(series, "queue")), "time in the queue, on average; the last 10 seconds"),
  );
}

function showCharts() {
  const { load } = state.stats;
  const frame = { step: load.step, end: load.end };
  const all = load.models[state.chosen] ?? load.models[""];
  const title = state.chosen || "all models";
  const requests = [{ name: title, color: 0, values: all.requests }, { name: "errors", color: 6, values: all.errors }];
  const latency = [{ name: "p99", color: 1, values: all.p99 }, { name: "median", color: 0, values: all.p50 }];
  const blank = !load.models[state.chosen] && state.chosen;
  if (blank) for (const line of [...requests, ...latency]) line.values = line.values.map(() => null);
  legend($("requests-legend"), requests);
  legend($("latency-legend"), latency);
  if ($("requests-chart").querySelector(".cursor[visibility=visible]") || $("latency-chart").querySelector(".cursor[visibility=visible]")) return;
  chart($("requests-chart"), requests, { ...frame, unit: count, label: "Requests a second" });
  chart($("latency-chart"), latency, { ...frame, unit: seconds, label: "Latency", log: true });
}

function versionChip(model, item) {
  const failed = Boolean(item.error);
  const chip = make("span", { class: `chip ${item.state} ${failed ? "failed" : ""}` }, make("span", { class: "dot", "aria-hidden": "true" }), make("b", {}, String(item.version)), failed ? "failed" : item.state.toLowerCase());
  for (const [label, number] of Object.entries(model.labels)) if (number === item.version) chip.append(make("em", {}, label));
  return chip;
}

function showModels(models) {
  const focused = document.activeElement?.dataset?.model;
  const rows = models.map((model) => {
    const series = state.stats.load.models[model.name];
    const name = make("button", { type: "button", class: "name", "data-model": model.name, "aria-pressed": model.name === state.chosen }, model.name);
    name.addEventListener("click", () => choose(model.name === state.chosen ? "" : model.name));
    const versions = make("td", {}, make("div", { class: "chips" }, ...model.versions.filter((item) => item.state !== "END" || item.error).map((item) => versionChip(model, item))));
    const shown = model.versions.map((item) => item.version);
  for (const [label, number] of Object.entries(model.labels)) {
    if (!shown.includes(number)) versions.firstChild.append(make("span", { class: "chip failed", title: `version ${number} is not there` }, make("em", {}, label), `→ ${number}, not loaded`));
  }
  for (const item of model.versions) if (item.error) versions.append(make("p", { class: "reason" }, `Version ${item.version}: ${item.error}`));
    const task = model.contract?.task ? make("div", { class: "quiet" }, model.contract.task) : "";
    return make("tr", { class: model.name === state.chosen ? "chosen" : "" },
      make("td", {}, name, task), versions,
      make("td", { class: "wide" }, sparkline(series?.requests ?? new Array(150).fill(0))),
      make("td", { class: "number" }, count(recent(series, "requests") ?? 0)),
      make("td", { class: "number" }, percent(errorShare(series))),
      make("td", { class: "number" }, seconds(recent(series, "p50"))),
      make("td", { class: "number" }, seconds(recent(series, "p99"))));
  });
  if (!rows.length) rows.push(make("tr", {}, make("td", { colspan: 7, class: "quiet" }, "No models are served.")));
  $("models").replaceChildren(...rows);
  if (focused) $("models").querySelector(`[data-model="${CSS.escape(focused)}"]`)?.focus();
}

function choose(name) {
  state.chosen = name;
  if (name && [...$("try-model").options].some((option) => option.value === name)) {
    $("try-model").value = name;
    offer(state.stats.models.filter((model) => model.signatures));
  }
  showAll();
}

// Fill a list of choices, but leave it alone while it says the same: the user may have it open.
function choices(list, values) {
  const before = list.value;
  const wanted = JSON.stringify(values);
  if (list.dataset.values === wanted) return;
  list.dataset.values = wanted;
  list.replaceChildren(...values.map(([value, text]) => make("option", { value }, text)));
  if (values.some(([value]) => value === before)) list.value = before;
}

function offer(models) {
  choices($("try-model"), models.map((model) => [model.name, model.name]));
  if ($("answer").dataset.model !== $("try-model").value) {
    $("answer").dataset.model = $("try-model").value;
    $("answer").replaceChildren(make("p", { class: "quiet" }, "The answer appears here."));
    $("took").textContent = "";
  }
  const model = models.find((item) => item.name === $("try-model").value);
  $("ask").disabled = !model;
  const versions = (model?.versions ?? []).filter((item) => item.state === "AVAILABLE").map((item) => [`/versions/${item.version}`, `version ${item.version}`]);
  const labels = Object.keys(model?.labels ?? {}).map((label) => [`/labels/${encodeURIComponent(label)}`, label]);
  choices($("try-version"), [["", "newest"], ...labels, ...versions]);
  const usable = Object.entries(model?.signatures ?? {}).filter(([, signature]) => Object.values(signature.inputs).every((dtype) => dtype === "string"));
  const offered = usable.length ? usable : Object.entries(model?.signatures ?? {});
  offered.sort(([, one], [, other]) => other.default - one.default);
  choices($("try-signature"), offered.map(([name]) => [name, name]));
  $("signature-field").hidden = offered.length < 2;
  showInputs(model?.signatures?.[$("try-signature").value]);
}

function showInputs(signature) {
  const rank = (name) => (["question", "query", "text"].includes(name) ? 0 : 1);
  const names = Object.keys(signature?.inputs ?? {}).sort((one, other) => rank(one) - rank(other));
  const wanted = names.join("\n");
  if ($("try-inputs").dataset.names === wanted) return;
  $("try-inputs").dataset.names = wanted;
  $("try-inputs").replaceChildren(...names.map((name) => {
    const box = make("textarea", { id: `input-${name}`, name, rows: 3, spellcheck: "false", placeholder: signature.inputs[name] === "string" ? "a text" : `a ${signature.inputs[name]} value, as JSON` });
    box.value = state.typed.get(name) ?? "";
    box.addEventListener("input", () => state.typed.set(name, box.value));
    return make("div", {}, make("label", { for: box.id }, name), box);
  }));
}

function parsed(text, dtype) {
  return dtype === "string" ? text : JSON.parse(text || "0");
}

async function tryIt() {
  const name = $("try-model").value;
  const model = state.stats.models.find((item) => item.name === name);
  const signatureName = $("try-signature").value;
  const signature = model.signatures[signatureName];
  const inputs = Object.fromEntries([...$("try-inputs").querySelectorAll("textarea")].map((box) => [box.name, box.value]));
  const path = `/v1/models/${encodeURIComponent(name)}${$("try-version").value}:predict`;
  const started = performance.now();
  try {
    const columns = Object.fromEntries(Object.entries(inputs).map(([alias, text]) => [alias, [parsed(text, signature.inputs[alias])]]));
    const body = JSON.stringify({ signature_name: signatureName, inputs: columns });
    const response = await ask(path, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    const text = await response.text();
    $("took").textContent = `${seconds((performance.now() - started) / 1000)}, with the network`;
    const answer = JSON.parse(text.replace(/\bNaN\b|-?\bInfinity\b/g, "null"));
    if (!response.ok) throw new Error(answer.error ?? text);
    showAnswer(answer.outputs, Object.keys(signature.outputs), inputs, model.contract?.labels ?? [], { path, body });
  } catch (error) {
    $("answer").replaceChildren(make("p", { class: "failure", role: "alert" }, error.message));
  }
}

function showAnswer(outputs, names, inputs, labels, sent) {
  const named = names.length === 1 ? { [names[0]]: outputs } : outputs;
  const row = Object.fromEntries(Object.entries(named).map(([name, values]) => [name, Array.isArray(values) ? values[0] : values]));
  const shown = show(row, inputs, labels);
  const command = `curl -s '${location.origin}${sent.path}' -d '${sent.body.replaceAll("'", "'\\''")}'`;
  $("answer").replaceChildren(...shown,
    make("details", {}, make("summary", {}, "As JSON"), make("pre", {}, JSON.stringify(row, null, 1))),
    make("details", {}, make("summary", {}, "In a shell"), make("pre", {}, command)));
}

$("try-form").addEventListener("submit", (event) => { event.preventDefault(); tryIt(); });
$("try-form").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); tryIt(); } });
for (const list of ["try-model", "try-version", "try-signature"]) $(list).addEventListener("change", () => offer(state.stats.models.filter((model) => model.signatures)));
$("token").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token-text").value.trim();
  sessionStorage.setItem("tfllm-token", state.token);
});
$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
});
addEventListener("resize", () => state.stats && showCharts());
refresh();
