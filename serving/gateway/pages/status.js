// The status page: what /v1/status tells, drawn; looked at again every few seconds while somebody looks at the page. Nothing else is loaded.

const $ = selector => document.querySelector(selector);
const KEY = "goodsight-key";
const LIVE = 2000, IDLE = 10000;  // milliseconds between two looks: while a run goes on, and else
const phone = matchMedia("(max-width: 56rem)");
const STATES = {
  RUNNING: ["live", "Running"], SUCCEEDED: ["good", "Succeeded"], FAILED: ["bad", "Failed"], STOPPED: ["maybe", "Stopped"], LOST: ["bad", "Lost"],
};
const DECISIONS = { start: "good", hold: "maybe", wait: "plain" };
let told = null, away = 0, timer = 0, wanted = new URLSearchParams(location.search).get("run");
const drawn = new Map();  // place -> what was drawn there last

// ---- making things ----------------------------------------------------------------------------------------------------------

function put(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  made.append(...children.flat().filter(each => each !== null && each !== undefined && each !== ""));
  return made;
}
const h = (tag, attributes = {}, ...children) => put(document.createElement(tag), attributes, children);
const s = (tag, attributes = {}, ...children) => put(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const chip = (kind, text) => h("span", { class: "chip " + kind }, text);

// Draws a place again when what it shows changed; who was at a button there stays there, and what was open stays open.
function draw(place, shown, make) {
  const text = JSON.stringify(shown);
  if (drawn.get(place) === text) return;
  drawn.set(place, text);
  const at = document.activeElement?.id, open = new Set([...$(place).querySelectorAll("details[open]")].map(each => each.id));
  $(place).replaceChildren(...[make(shown)].flat());
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (at && document.activeElement?.id !== at) document.getElementById(at)?.focus({ preventScroll: true });
}

// ---- saying things ----------------------------------------------------------------------------------------------------------

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
function span(seconds) {
  const [unit, size] = UNITS.find(([, size]) => seconds >= size * 1.5) ?? UNITS[3], count = Math.round(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
function took(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 9.95) return seconds.toFixed(1) + " s";
  if (seconds < 99.5) return Math.round(seconds) + " s";
  if (seconds < 5970) return Math.round(seconds / 60) + " min";
  return (seconds / 3600).toFixed(1) + " h";
}
const number = (value, digits = 2) => value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits });
const since = time => Math.max(0, (now() - Date.parse(time)) / 1000);
const now = () => Date.parse(told.now) + (performance.now() - told.came);
const ago = time => time ? h("time", { datetime: time, title: new Date(time).toUTCString() }, span(since(time)) + " ago") : "";
const money = (value, currency) => value === null || value === undefined ? "" : `${number(value, value < 1 ? 4 : 2)} ${currency}`.trim();
const percent = share => number(100 * share, 1) + " %";
const words = name => name.replaceAll("_", " ").replaceAll("-", " ");
const capital = text => text.charAt(0).toUpperCase() + text.slice(1);

// ---- the tiles --------------------------------------------------------------------------------------------------------------

function tile(kind, name, value, ...more) {
  return h("li", { class: kind }, h("h2", {}, name), h("b", {}, value), ...more.map(each => h("p", {}, each)));
}

function tiles() {
  const { champion, runs, decisions, data, costs, drift } = told;
  const going = runs.find(each => each.state === "RUNNING"), decision = decisions[0], newest = data.at(-1);
  const changed = drift.findings.filter(each => each.drifted).length, made = [];
  made.push(champion
    ? tile("good", "Champion", "Version " + champion.version, `for ${span(since(champion.since))}`, champion.reason)
    : tile("plain", "Champion", "None yet", "The first run that the gate promotes makes one."));
  if (going) {
    const done = going.steps.filter(each => each.state === "SUCCEEDED").length, step = going.steps.find(each => each.state === "RUNNING");
    made.push(tile("live", "Now", step ? capital(step.name) : "Starting", `${done} of ${Object.keys(told.graph).length} steps done`, `for ${span(since(going.since || going.started))}`));
  } else {
    const last = runs[0];
    made.push(tile("plain", "Now", "Idle", last ? h("span", {}, "The last run ended ", ago(last.ended || last.started), ".") : "No run yet."));
  }
  made.push(decision
    ? tile(DECISIONS[decision.decision] ?? "plain", "Last decision", capital(decision.decision), ago(decision.time))
    : tile("plain", "Last decision", "None yet", "goodsight watch decides."));
  made.push(drift.count
    ? tile(changed ? "bad" : "good", "Drift", changed ? `${changed} changed` : "None", `${drift.count} compared`, ago(drift.time))
    : tile("plain", "Drift", "Not compared", drift.explanation || "No comparison yet."));
  if (newest) {
    const share = newest.quarantined / Math.max(1, newest.products_in);
    made.push(tile(newest.decision === "passed" ? "good" : "bad", "Newest data", capital(newest.decision), `${percent(share)} of ${number(newest.products_in, 0)} products in quarantine`, ago(newest.time)));
  }
  made.push(tile("plain", `Costs in ${costs.days} days`, costs.cost === null ? `${costs.runs} run${costs.runs === 1 ? "" : "s"}` : money(costs.cost, costs.currency),
    costs.cost === null ? "" : `${costs.runs} runs, ${costs.promoted} promoted`, costs.cpu_seconds === null ? "" : `${number(costs.cpu_seconds / 3600, 2)} CPU-hours`));
  return made;
}

// ---- a run, its steps as a graph ---------------------------------------------------------------------------------------------

function layers(graph) {
  const depth = {}, rows = [];
  const of = name => depth[name] ??= Math.max(-1, ...graph[name].filter(each => each in graph).map(of)) + 1;
  for (const name of Object.keys(graph)) (rows[of(name)] ??= []).push(name);
  return rows;
}

// What is known of a step: [kind, mark, what is said, seconds]
function standing(step, run) {
  if (!step) return run.state === "RUNNING" ? ["plain", "", "to come", 0] : ["plain", "", "not reached", 0];
  if (step.cached) return ["good", "↺", "from cache", 0];
  if (step.state === "RUNNING" && run.state !== "RUNNING") return ["bad", "✕", run.state.toLowerCase(), step.seconds];
  if (step.state === "RUNNING") { const seconds = step.started ? since(step.started) : step.seconds; return ["live", "●", took(seconds), seconds]; }
  return step.state === "FAILED" ? ["bad", "✕", step.seconds ? `failed, ${took(step.seconds)}` : "failed", step.seconds] : ["good", "✓", took(step.seconds), step.seconds];
}

function graph(run) {
  const known = Object.fromEntries(run.steps.map(each => [each.name, each])), shape = { ...told.graph };
  const rows = layers(shape), upright = phone.matches;
  const [width, height, gap, lane] = upright ? [158, 58, 18, 12] : [98, 76, 14, 12];
  const most = Math.max(...rows.map(each => each.length));
  const across = most * (upright ? width : height) + (most - 1) * lane, along = rows.length * (upright ? height : width) + (rows.length - 1) * gap;
  const place = {}, longest = Math.max(1e-9, ...run.steps.map(each => standing(each, run)[3] || 0));
  rows.forEach((names, row) => names.forEach((name, at) => {
    const used = names.length * (upright ? width : height) + (names.length - 1) * lane, from = (across - used) / 2;
    place[name] = upright ? [from + at * (width + lane), row * (height + gap)] : [row * (width + gap), from + at * (height + lane)];
  }));
  const edges = Object.entries(shape).flatMap(([name, after]) => after.map(before => {
    const [x, y] = place[before], [u, v] = place[name];
    const [a, b, c, d] = upright ? [x + width / 2, y + height, u + width / 2, v] : [x + width, y + height / 2, u, v + height / 2];
    const bend = upright ? `C${a},${(b + d) / 2} ${c},${(b + d) / 2}` : `C${(a + c) / 2},${b} ${(a + c) / 2},${d}`;
    const done = [before, name].every(each => known[each] && standing(known[each], run)[0] !== "bad");
    return s("path", { d: `M${a},${b} ${bend} ${c},${d}`, class: done ? "done" : "" });
  }));
  const nodes = Object.keys(shape).map(name => {
    const [kind, mark, said, seconds] = standing(known[name], run), [x, y] = place[name], [first, second] = name.split(" ");
    return s("g", { class: kind, transform: `translate(${x},${y})` }, s("title", {}, `${name}: ${said}`),
      s("rect", { class: "box", width, height, rx: 10 }),
      s("text", { class: "name", x: 10, y: 21 }, capital(first)), second ? s("text", { x: 10, y: upright ? 37 : 38 }, second) : null,
      mark ? s("text", { class: "mark", x: width - 9, y: 21 }, mark) : null,
      s("text", { class: "took", x: second && upright ? width - 9 : 10, y: upright ? 42 : 56, "text-anchor": second && upright ? "end" : "start" }, said),
      seconds ? s("rect", { class: "share", x: 10, y: height - 9, height: 4, rx: 2, width: Math.max(2, (width - 20) * seconds / longest) }) : null);
  });
  const size = upright ? [across, along] : [along, across];
  const told_ = `Steps of the run: ${Object.keys(shape).map(name => `${name} ${standing(known[name], run)[2]}`).join(", ")}.`;
  return s("svg", { viewBox: `-2 -2 ${size[0] + 4} ${size[1] + 4}`, role: "img", "aria-label": told_, class: upright ? "tall" : "wide" }, ...edges, ...nodes);
}

function stepTable(run) {
  const head = ["Step", "State", "Took", "CPU", "GPU", "Memory", "Energy", run.currency ? `Cost, ${run.currency}` : "Cost"];
  const rows = run.steps.map(each => [
    each.name, each.cached ? "from cache" : (STATES[each.state]?.[1] ?? each.state).toLowerCase(), took(standing(each, run)[3]), took(each.cpu_seconds), took(each.gpu_seconds),
    each.peak_rss_bytes ? number(each.peak_rss_bytes / 2 ** 30, 2) + " GiB" : "", each.energy_kwh ? number(1000 * each.energy_kwh, 1) + " Wh" : "", each.cost === null ? "" : number(each.cost, 4),
  ]);
  return h("table", {}, h("thead", {}, h("tr", {}, ...head.map(each => h("th", { scope: "col" }, each)))),
    h("tbody", {}, ...rows.map(row => h("tr", {}, ...row.map((cell, at) => h(at ? "td" : "th", at ? {} : { scope: "row" }, cell))))));
}

function chosen() { return told.runs.find(each => each.run_id === wanted) ?? told.runs[0]; }

function showRun() {
  const run = chosen();
  $("#run").hidden = !run;
  if (!run) return;
  const [kind, state] = STATES[run.state] ?? ["plain", run.state];
  draw("#run-name", [run.run_id, run.state], () => ["Run ", h("span", { class: "id" }, run.run_id), " ", chip(kind, state)]);
  const facts = [run.revision && `data ${run.revision}`, run.data_verdict && `data ${run.data_verdict}`, run.verdict && `gate: ${run.verdict}`, run.version && `version ${run.version}`, run.kubeflow && `on Kubeflow ${run.kubeflow}`];
  const length = run.state === "RUNNING" ? since(run.since || run.started) : run.seconds;
  const shown = [...facts, length && (run.state === "RUNNING" ? `for ${took(length)}` : `${took(length)} in all`), money(run.cost, run.currency)].filter(Boolean).join(" · ");
  draw("#run-said", shown, text => text);
  $("#run-cause").hidden = !run.cause;
  $("#run-cause").textContent = run.cause;
  draw("#graph", [run.run_id, run.state, run.steps, phone.matches, run.state === "RUNNING" ? Math.floor(now() / 1000) : 0], () => graph(run));
  draw("#steps > div", [run.run_id, run.steps], () => stepTable(run));
  const wide = $("#steps > div");
  wide.tabIndex = 0;
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", "Steps of the run in figures");
}

function choose(id) {
  wanted = id;
  history.replaceState(null, "", "/status?run=" + encodeURIComponent(id));
  show();
  $("#run").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function runs() {
  if (!told.runs.length) return h("li", { class: "empty" }, "No run yet. goodsight run starts one; goodsight watch does when it is due.");
  return told.runs.map(run => {
    const [kind, state] = STATES[run.state] ?? ["plain", run.state];
    const came = run.version ? `version ${run.version}` : run.verdict ?? (run.data_verdict === "failed" ? "data refused" : "");
    const button = h("button", { type: "button", id: "run-" + run.run_id, "aria-pressed": String(run === chosen()) },
      chip(kind, state), ago(run.started), h("span", { class: "took" }, run.state === "RUNNING" ? "" : took(run.seconds)),
      h("span", { class: "id" }, run.run_id), h("span", { class: "money" }, [came, money(run.cost, run.currency)].filter(Boolean).join(" · ")));
    button.addEventListener("click", () => choose(run.run_id));
    return h("li", {}, button);
  });
}

// ---- drift -------------------------------------------------------------------------------------------------------------------

// A line over time, times to the right in proportion; a dashed line where it starts to count.
function spark(points, bound, label, top = 0) {
  const [W, H] = [240, 54], times = points.map(each => Date.parse(each[0])), first = times[0], last = times.at(-1);
  const high = Math.max(top, bound ?? 0, ...points.map(each => each[1] ?? 0)) * 1.08 || 1;
  const x = time => last === first ? W : W * (time - first) / (last - first), y = value => H - H * Math.max(0, value ?? 0) / high;
  const line = points.map((each, at) => `${x(times[at]).toFixed(1)},${y(each[1]).toFixed(1)}`);
  if (line.length === 1) line.unshift(`0,${line[0].split(",")[1]}`);
  return s("svg", { class: "spark", viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("path", { class: "under", d: `M0,${H} L${line.join(" L")} L${W},${H} Z` }),
    bound === null || bound === undefined ? null : s("line", { x1: 0, x2: W, y1: y(bound), y2: y(bound) }),
    s("path", { d: "M" + line.join(" L") }));
}

function finding(each) {
  const where = !each.slice || each.slice === "all" ? "" : each.slice.replaceAll("task=", "").replaceAll("modalities=", "").replaceAll(",", ", ");
  const times = new Set(each.points.map(point => point[0])).size, said = each.drifted ? "changed" : "steady";
  return h("li", { class: each.drifted ? "bad" : "good" },
    h("h3", {}, capital(words(each.name)), each.drifted ? chip("bad", "Changed") : ""),
    h("p", {}, [each.group, where].filter(Boolean).join(" · ")),
    spark(each.points, each.bound, `${words(each.name)} ${where}: ${said}; effect ${number(each.effect, 3)}, counts from ${number(each.bound, 3)}; ${times} comparisons`),
    h("p", {}, `effect ${number(each.effect, 3)}, bound ${number(each.bound, 3)}`));
}

// What people said, by day: a share and what it is a share of.
function people(name, part, whole) {
  const days = told.feedback.filter(each => each[whole] > 0), points = days.map(each => [each.day, each[part] / each[whole], false]);
  if (!points.length) return [];
  const all = days.reduce((sum, each) => sum + each[whole], 0), share = days.reduce((sum, each) => sum + each[part], 0) / all;
  return [h("li", { class: "live" }, h("h3", {}, name), h("p", {}, "by people, day by day"),
    spark(points, null, `${name}: ${percent(share)} in ${days.length} days`, 1), h("p", {}, `${percent(share)} of ${number(all, 0)}`))];
}

function drift() {
  const made = [...people("Categories that were right", "correct", "judged"), ...people("Answers with a click", "clicked", "searches"),
    ...people("Searches that found nothing", "zero_results", "searches"), ...told.drift.findings.map(finding)];
  return made.length ? made : h("li", { class: "empty" }, told.drift.explanation || "Nothing was compared yet: that takes a champion, traffic, and goodsight watch.");
}

function driftSaid() {
  const { drift: { findings, count, explanation, time } } = told;
  return time ? [`${explanation ? explanation + " " : ""}${findings.length} of ${count} comparisons, the largest first. `] : "";
}

// ---- decisions, verdicts, data, costs ----------------------------------------------------------------------------------------

// Decisions that say the same one after the other are one line.
function grouped() {
  const groups = [];
  for (const each of told.decisions) {
    const last = groups.at(-1);
    if (last && last[0].decision === each.decision && last[0].reason === each.reason && each.decision !== "start") last.push(each);
    else groups.push([each]);
  }
  return groups;
}

function reasons(name, all, tell) {
  if (!all?.length) return [];
  return [h("h3", {}, name), h("div", { class: "reasons" }, ...all.flatMap(each => {
    const [kind, mark] = tell(each);
    return [h("span", { class: kind }, mark), h("span", {}, words(each.name)), h("span", {}, each.explanation || "")];
  }))];
}

function decisions() {
  const made = grouped().map(([newest, ...more]) => {
    const [seq] = [newest.seq], times = more.length ? h("span", { class: "times" }, ` ${more.length + 1} times in ${span(since(more.at(-1).time))}`) : "";
    const open = newest.run_id && told.runs.some(each => each.run_id === newest.run_id) ? h("button", { type: "button", id: "of-" + seq }, "Show the run") : "";
    if (open) open.addEventListener("click", () => choose(newest.run_id));
    return h("li", {}, h("details", { id: "decision-" + seq },
      h("summary", {}, chip(DECISIONS[newest.decision] ?? "plain", capital(newest.decision)), h("span", { class: "why-said" }, newest.reason, times), ago(newest.time)),
      ...reasons("Triggers", newest.triggers, each => each.fired ? ["maybe", "● due"] : ["plain", "○ not due"]),
      ...reasons("Constraints", newest.constraints, each => each.holds ? ["bad", "■ holds"] : ["good", "□ free"]),
      h("p", {}, h("small", {}, `Event ${seq} of the ledger`, newest.by === "person" ? ", asked for by a person" : "", ". "), open)));
  });
  return made.length ? made : h("li", { class: "empty" }, "No decision yet.");
}

function verdicts() {
  if (!told.verdicts.length) return h("li", { class: "empty" }, "No verdict yet.");
  return told.verdicts.map(each => {
    const failed = each.failed?.length ? "failed: " + each.failed.join(", ") : "every check passed", over = each.overridden?.length ? `; overridden: ${each.overridden.join(", ")}` : "";
    return h("li", {}, chip(each.decision === "promote" ? "good" : "bad", capital(each.decision)),
      h("span", {}, each.version ? `Version ${each.version}` : `Candidate ${each.candidate.slice(0, 12)}`, ": ", failed + over), ago(each.time));
  });
}

function data() {
  if (!told.data.length) return h("p", { class: "empty" }, "No data were checked yet.");
  const [W, H] = [240, 60], shares = told.data.map(each => each.quarantined / Math.max(1, each.products_in)), high = Math.max(0.05, ...shares), step = W / Math.max(12, shares.length);
  const bars = told.data.map((each, at) => {
    const tall = Math.max(2, H * shares[at] / high);
    return s("rect", { class: each.decision === "passed" ? "good" : "bad", x: at * step + step * .15, y: H - tall, width: step * .7, height: tall, rx: 1 });
  });
  const label = `Share of products in quarantine in the last ${shares.length} versions of the data: ${shares.map(percent).join(", ")}.`;
  const newest = told.data.at(-1);
  return [h("p", {}, chip(newest.decision === "passed" ? "good" : "bad", capital(newest.decision)), " ", newest.reason ?? "", " ", ago(newest.time)),
    s("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, s("line", { x1: 0, x2: W, y1: H, y2: H }), ...bars),
    h("small", {}, `Products in quarantine, ${shares.length} version${shares.length === 1 ? "" : "s"} of the data, the highest ${percent(Math.max(...shares))}.`)];
}

function costs() {
  const { costs: of } = told, facts = [["Runs", of.runs], ["Promoted", of.promoted]];
  if (of.cost !== null) facts.push(["Money", money(of.cost, of.currency)]);
  if (of.cpu_seconds !== null) facts.push(["CPU", number(of.cpu_seconds / 3600) + " h"]);
  if (of.gpu_seconds) facts.push(["GPU", number(of.gpu_seconds / 3600) + " h"]);
  if (of.energy_kwh !== null) facts.push(["Energy", number(of.energy_kwh, 3) + " kWh"]);
  const run = chosen(), cost = each => each.cost ?? null, priced = run?.steps.some(each => cost(each) > 0);
  const value = each => each.cached ? 0 : priced ? cost(each) ?? 0 : each.seconds, steps = (run?.steps ?? []).filter(each => value(each) > 0).sort((a, b) => value(b) - value(a)).slice(0, 6);
  const most = Math.max(1e-9, ...steps.map(value));
  return [h("small", {}, `In ${of.days} days`), h("dl", {}, ...facts.map(([name, fact]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(fact))))),
    steps.length ? h("div", {}, h("small", {}, priced ? "What the run above cost, by step" : "How long the run above took, by step"),
      h("div", { class: "of" }, ...steps.flatMap(each => {
        const bar = h("i", { "aria-hidden": "true" });
        bar.style.setProperty("--share", String(value(each) / most));
        return [h("span", {}, each.name), h("span", {}, bar), h("span", {}, priced ? money(cost(each), run.currency) : took(each.seconds))];
      }))) : ""];
}

// ---- the page ----------------------------------------------------------------------------------------------------------------

function sentence() {
  const { champion, runs, drift, decisions } = told, parts = [];
  const going = runs.find(each => each.state === "RUNNING"), changed = drift.findings.filter(each => each.drifted);
  parts.push(champion ? `Version ${champion.version} is champion.` : "There is no champion yet.");
  if (going) parts.push(`The run ${going.run_id} goes on.`);
  if (changed.length) parts.push(`${changed.length === 1 ? "One thing" : changed.length + " things"} changed in what comes in.`);
  if (decisions[0]) parts.push(decisions[0].reason);
  return parts.join(" ");
}

function show() {
  $("#all").hidden = false;
  draw("#said", sentence(), text => text);
  const minute = Math.floor(now() / 60000), second = told.runs.some(each => each.state === "RUNNING") ? Math.floor(now() / 1000) : minute;
  draw("#tiles", [told.champion, told.runs[0], told.decisions[0], told.data.at(-1), told.costs, told.drift.time, second], tiles);
  showRun();
  draw("#runs", [told.runs, minute, chosen()?.run_id], runs);
  draw("#drift", [told.drift, told.feedback], drift);
  draw("#drift-said", [told.drift.time, told.drift.explanation], driftSaid);
  draw("#decisions", [told.decisions, minute], decisions);
  draw("#verdicts", [told.verdicts, minute], verdicts);
  draw("#data", [told.data, minute], data);
  draw("#costs", [told.costs, chosen()], costs);
}

function freshness(text, stale) {
  $("#fresh span").textContent = text;
  $("#fresh").classList.toggle("stale", stale);
}

function askForKey(status) {
  const wrong = sessionStorage.getItem(KEY) !== null;
  if (status === 401) sessionStorage.removeItem(KEY);
  $("#key-said").textContent = status === 403 ? "That key does not have the scope audit. Try another one."
    : wrong ? "The server does not know that key. Try another one." : "It stays in this tab until you close it.";
  if ($("#key").hidden || wrong) { $("#key").hidden = false; $("#secret").focus(); }
  $("#said").textContent = "What is shown here is for those with a key.";
}

// The answer to a look: what it told, or the status with which it was refused, or why it failed.
async function asked() {
  const key = sessionStorage.getItem(KEY);
  try {
    const answer = await fetch("/v1/status", { headers: key ? { Authorization: "Bearer " + key } : {} }), body = await answer.json().catch(() => null);
    if (answer.ok && body) return { told: body };
    return [401, 403].includes(answer.status) ? { refused: answer.status } : { failed: body?.detail ?? "The server failed. It is asked again." };
  } catch {
    return { failed: "The server cannot be reached. It is tried again." };
  }
}

async function look() {
  clearTimeout(timer);
  const answer = await asked();
  if (answer.refused) {
    askForKey(answer.refused);
    freshness("No key", true);
    return;
  }
  away = answer.failed ? away + 1 : 0;
  const live = answer.told?.runs.some(each => each.state === "RUNNING");
  timer = setTimeout(() => document.hidden || look(), live ? LIVE : IDLE * Math.min(6, Math.max(1, away)));
  freshness(answer.failed ? "Not up to date" : "Live", Boolean(answer.failed));
  if (answer.failed && !told) $("#said").textContent = answer.failed;
  if (answer.failed) return;
  told = { ...answer.told, came: performance.now() };
  $("#key").hidden = true;
  show();
}

$("#key").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("#secret").value.trim());
  $("#secret").value = "";
  look();
});
document.addEventListener("visibilitychange", () => document.hidden || look());
phone.addEventListener("change", () => told && show());
setInterval(() => told && !document.hidden && told.runs.some(each => each.state === "RUNNING") && show(), 1000);
look();
