// The shop window: what is asked is in the address (but for the picture), what is answered comes from /v1, and nothing else is loaded.

const $ = selector => document.querySelector(selector);
const SIDE = 1024;      // pixels that a picture is made to fit before it is sent
const PAGE = 24;        // products at first, and more each time
const MOST = 96;
const VALUES = 30;      // an attribute with more is no list to choose from
const KEY = "goodsight-key";
const phone = matchMedia("(max-width: 56rem)");
const pictures = new Map();  // of this visit: number in the history -> picture
let heard = true;            // whether the key may give feedback
let asked = {}, facets = null, running = null, heat = null, heated = 0, dragged = 0;

// ---- what is asked, and the address -----------------------------------------------------------------------------------------

function read(address = location.search) {
  const from = new URLSearchParams(address), attributes = {};
  for (const [name, value] of from) if (name.startsWith("a.")) (attributes[name.slice(2)] ??= []).push(value);
  return {
    words: (from.get("q") ?? "").trim(), similar: from.get("similar") ?? "", passport: from.get("passport") ?? "",
    category: from.getAll("category"), min: from.get("min") ?? "", max: from.get("max") ?? "", attributes,
    picture: pictures.get(history.state?.picture) ?? null, k: PAGE,
  };
}

function address(what) {
  const to = new URLSearchParams();
  if (what.passport) to.set("passport", what.passport);
  if (what.similar) to.set("similar", what.similar);
  else if (what.words) to.set("q", what.words);
  for (const each of what.category) to.append("category", each);
  for (const name of ["min", "max"]) if (what[name]) to.set(name, what[name]);
  for (const [name, values] of Object.entries(what.attributes)) for (const each of values) to.append("a." + name, each);
  return to.size ? "/?" + to : "/";
}

function go(change) {
  const what = { ...asked, passport: "", k: PAGE, ...change };
  const number = what.picture?.number;
  history.pushState(number ? { picture: number } : null, "", address(what));
  show(what);
}

const filtersOf = what => ({
  ...(what.category.length && { category: what.category }),
  ...((amount(what.min) !== null || amount(what.max) !== null) && {
    price: { ...(amount(what.min) !== null && { min: amount(what.min) }), ...(amount(what.max) !== null && { max: amount(what.max) }) },
  }),
  ...(Object.keys(what.attributes).length && { attributes: what.attributes }),
});

function amount(text) {
  const value = Number(text);
  return text !== "" && Number.isFinite(value) && value >= 0 ? value : null;
}

// ---- calls ------------------------------------------------------------------------------------------------------------------

class Problem extends Error {
  constructor(status, title, detail, wait) { super(detail || title); Object.assign(this, { status, title, wait }); }
}

function request(path, body, signal) {
  const key = sessionStorage.getItem(KEY), headers = key ? { Authorization: "Bearer " + key } : {};
  const sent = body ? { method: "POST", body: JSON.stringify(body), headers: { ...headers, "Content-Type": "application/json" } } : { headers };
  return fetch(path, { ...sent, signal });
}

async function call(path, body, signal) {
  let answer;
  try {
    answer = await request(path, body, signal);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server cannot be reached", "Check the connection, then try again.");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  if (answer.status === 401) askForKey();
  throw new Problem(answer.status, told.title ?? answer.statusText, told.detail, Number(answer.headers.get("Retry-After")) || 0);
}

const json = async (...what) => (await call(...what)).json();

function askForKey() {
  const wrong = sessionStorage.getItem(KEY) !== null;
  sessionStorage.removeItem(KEY);
  $("#key-said").textContent = wrong ? "The server does not know that key. Try another one." : "It stays in this tab until you close it.";
  if ($("#key").hidden || wrong) { $("#key").hidden = false; $("#secret").focus(); }
}

$("#key").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("#secret").value.trim());
  $("#secret").value = "";
  $("#key").hidden = true;
  heard = true;
  start();
});

// ---- one answer -------------------------------------------------------------------------------------------------------------

async function show(what) {
  running?.abort();
  running = new AbortController();
  const before = asked, signal = running.signal;
  asked = what;
  $("#words").value = what.words;
  showPicture(what, before);
  drawFilters();
  const empty = !what.words && !what.picture && !what.similar && !what.passport;
  $("#welcome").hidden = !empty;
  $("#answer").hidden = empty || Boolean(what.passport);
  $("#passport").hidden = !what.passport;
  document.title = (what.words || (what.picture && "A picture") || (what.similar && "Similar products") || "") + (empty || what.passport ? "Goodsight" : " · Goodsight");
  if (empty) return;
  if (what.passport) return showPassport(what, signal);
  await Promise.all([showProducts(what, signal), showCategories(what, before, signal)]);
}

async function showProducts(what, signal) {
  const more = what.k > PAGE;
  $("#told").textContent = heading(what);
  $("#like").hidden = !what.similar;
  if (what.similar && !more) picture($("#like"), what.similar, () => { $("#like").hidden = true; });
  $("#trouble").hidden = true;
  $("#more").hidden = true;
  $("#results .why").hidden = true;
  $("#results").setAttribute("aria-busy", "true");
  if (!more) { $("#status").textContent = "Searching…"; wait(); }
  const started = performance.now();
  try {
    const answer = what.similar ? await similar(what, signal) : await json("/v1/search", { ...content(what), k: what.k, ...filtered(what) }, signal);
    drawCards(answer, what, more);
    const count = answer.results.length, seconds = (performance.now() - started) / 1000;
    $("#status").textContent = count ? `${count} ${count === 1 ? "product" : "products"}, the best first · ${seconds.toFixed(seconds < 1 ? 2 : 1)} s` : "No products";
    $("#more").hidden = count < what.k || what.k >= MOST;
    because("#results .why", answer.id);
    $("#served").textContent = answer.model_version ? `Model version ${answer.model_version}` : "";
    if (!count) nothing(what);
  } catch (error) {
    failed(error, what);
  } finally {
    if (!signal.aborted) $("#results").removeAttribute("aria-busy");
  }
}

const content = what => ({ ...(what.words && { text: what.words }), ...(what.picture && { image: what.picture.base64 }) });
const filtered = what => (Object.keys(filtersOf(what)).length ? { filters: filtersOf(what) } : {});

function similar(what, signal) {
  const to = new URLSearchParams({ k: what.k }), filters = filtersOf(what);
  if (Object.keys(filters).length) to.set("filters", JSON.stringify(filters));
  return json(`/v1/products/${encodeURIComponent(what.similar)}/similar?${to}`, null, signal);
}

function heading(what) {
  if (what.similar) return `Similar to ${what.title ?? what.similar}`;
  return what.words ? (what.picture ? `“${what.words}”, like your picture` : `“${what.words}”`) : "Like your picture";
}

function because(selector, id) {
  const link = $(selector);
  link.hidden = !id;
  if (id) link.href = address({ ...asked, passport: id });
}

function nothing(what) {
  const some = Object.keys(filtersOf(what)).length > 0;
  trouble("Nothing found", some ? "No product passes all of these filters." : "Try other words, or a picture.", some ? "Clear all filters" : "", clear);
}

function failed(error, what) {
  if (error.name === "AbortError") return;
  $("#cards").replaceChildren();
  $("#status").textContent = "";
  if (!(error instanceof Problem)) throw error;
  const busy = error.status === 429 || error.status === 503 || error.status === 504;
  const wait = error.wait ? ` Try again in ${error.wait} ${error.wait === 1 ? "second" : "seconds"}.` : busy ? " Try again in a moment." : "";
  const title = { 401: "A key is needed", 403: "This key may not do that", 404: "That product is not here", 429: "The shop is busy", 503: "The shop is not ready", 504: "That took too long" };
  trouble(title[error.status] ?? error.title, error.message + wait, error.status === 401 ? "" : "Try again", () => show(what));
}

function trouble(title, text, action, act) {
  const box = $("#trouble"), button = box.querySelector("button");
  box.querySelector("h2").textContent = title;
  box.querySelector("p").textContent = text;
  button.hidden = !action;
  button.textContent = action;
  button.onclick = act;
  box.hidden = false;
}

// ---- products ---------------------------------------------------------------------------------------------------------------

function wait() {
  $("#cards").replaceChildren(...Array.from({ length: 8 }, () => make("li", "waiting")));
}

function drawCards(answer, what, more) {
  const products = answer.results, best = Math.max(...products.map(each => each.score), 1e-9), old = more ? $("#cards").children.length : 0;
  const cards = products.map(each => card(each, best, what, answer.id));
  $("#cards").replaceChildren(...cards);
  if (more) cards[old]?.querySelector("button").focus();
}

function card(product, best, what, answer) {
  const made = $("#card").content.cloneNode(true).firstElementChild, part = name => made.querySelector(name);
  part("h2").textContent = product.title || product.id;
  part(".path").textContent = (product.category ?? "").replaceAll(" > ", " › ");
  part(".price").textContent = product.price == null ? "" : product.price.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  part(".score > span").textContent = product.score.toFixed(2);
  part(".score").title = "How near the product is to what was asked: orders the products of this answer, and says nothing across answers";
  part(".score i i").style.inlineSize = `${Math.max(4, Math.min(100, (100 * product.score) / best))}%`;
  if (product.discount > 0.005) { part(".off").hidden = false; part(".off").textContent = `−${Math.round(100 * product.discount)} %`; }
  part(".similar").setAttribute("aria-label", `Similar to ${product.title || product.id}`);
  part(".similar").onclick = () => { clicked(answer, product.id); go({ similar: product.id, title: product.title, words: "", picture: null }); };
  part(".matched").hidden = !what.picture;
  part(".matched").setAttribute("aria-label", `What matched ${product.title || product.id}`);
  part(".matched").onclick = () => look("search", product);
  picture(part("img"), product.id, () => { part("img").remove(); part(".photo").classList.add("none"); });
  return made;
}

function clicked(prediction, product) {  // what was asked stays here: only which answer it was, and which product of it
  if (!heard || !prediction) return;
  request("/v1/feedback", { prediction, kind: "click", product }).then(answer => { heard = answer.status !== 403; }).catch(() => {});
}

function picture(image, id, none) {
  const path = `/v1/products/${encodeURIComponent(id)}/thumbnail`;
  image.onerror = none;
  if (!sessionStorage.getItem(KEY)) { image.src = path; return; }
  fetched(path).then(blob => { image.src = URL.createObjectURL(blob); }).catch(none);
}

async function fetched(path, tries = 4) {  // a key may have fewer requests a second than a page has pictures
  const answer = await request(path);
  if (answer.ok) return answer.blob();
  if (answer.status !== 429 || tries === 1) throw new Problem(answer.status, answer.statusText);
  await new Promise(done => setTimeout(done, 1000 * (Number(answer.headers.get("Retry-After")) || 1)));
  return fetched(path, tries - 1);
}

$("#more").addEventListener("click", () => show({ ...asked, k: Math.min(MOST, asked.k + PAGE) }));

// ---- categories -------------------------------------------------------------------------------------------------------------

async function showCategories(what, before, signal) {
  const place = $("#categories"), same = before.words === what.words && before.picture === what.picture && !before.passport;
  if (same && !what.similar && !place.hidden) return markCategories();
  place.hidden = true;
  if (what.similar) return;
  try {
    const answer = await json("/v1/categorize", { ...content(what), k: 5 }, signal);
    place.querySelector(".bars").replaceChildren(...answer.results.map(bar));
    because("#categories .why", answer.id);
    place.hidden = false;
    markCategories();
  } catch (error) {
    if (!(error instanceof Problem) && error.name !== "AbortError") throw error;  // the products tell what went wrong
  }
}

function bar(found) {
  const row = make("li"), button = make("button"), track = make("i"), level = make("i"), percent = `${(100 * found.probability).toFixed(found.probability < 0.1 ? 1 : 0)} %`;
  button.type = "button";
  button.dataset.category = found.category;
  button.append(make("span", "name", found.category.replaceAll(" > ", " › ")), make("span", "percent", percent), track);
  track.append(level);
  track.setAttribute("aria-hidden", "true");
  level.style.inlineSize = `${Math.max(1, 100 * found.probability)}%`;
  button.title = "Show the products of this category alone";
  button.onclick = () => toggle("category", found.category);
  row.append(button);
  return row;
}

function markCategories() {
  for (const each of document.querySelectorAll(".bars button")) each.setAttribute("aria-pressed", asked.category.includes(each.dataset.category));
}

// ---- filters ----------------------------------------------------------------------------------------------------------------

async function loadFacets() {
  facets = await json("/v1/facets").catch(error => { if (error instanceof Problem) return null; throw error; });
  if (!facets) return;
  const categories = facets.category.map(({ category, count }) => ({ value: category, count }));
  const tops = categories.filter(each => !each.value.includes(" > ")).sort((one, other) => other.count - one.count).slice(0, 12);
  $("#browse ul").replaceChildren(...tops.map(each => {
    const row = make("li"), button = make("button", "", each.value);
    button.type = "button";
    button.append(make("small", "", each.count.toLocaleString()));
    button.onclick = () => go({ words: each.value, category: [each.value] });
    row.append(button);
    return row;
  }));
  $("#browse").hidden = !tops.length;
  const groups = [group("Category", categories, "category", each => each.value.split(" > "))];
  if (facets.price) groups.push(prices(facets.price));
  const useful = Object.entries(facets.attributes).filter(([, values]) => values.length > 1 && values.length <= VALUES);
  for (const [name, values] of useful) groups.push(group(spoken(name), values, "a." + name, each => [spoken(each.value)]));
  $("#filters form").replaceChildren(...groups, $("#clear"));
  $("#filters").hidden = false;
  drawFilters();
}

function group(title, values, name, path) {
  const set = make("fieldset"), list = make("div", "list");
  set.append(make("legend", "", title), list);
  for (const each of values) {
    const label = make("label"), box = make("input"), names = path(each);
    Object.assign(box, { type: "checkbox", name, value: each.value });
    box.onchange = () => toggle(name, each.value);
    label.style.paddingInlineStart = `${names.length - 1}rem`;
    label.append(box, make("span", "", names.at(-1)), make("small", "", each.count.toLocaleString()));
    list.append(label);
  }
  return set;
}

function prices(range) {
  const set = make("fieldset"), row = make("div", "range");
  set.append(make("legend", "", "Price"), row);
  for (const [name, text] of [["min", "from"], ["max", "to"]]) {
    const label = make("label", "", text), box = make("input");
    Object.assign(box, { type: "number", name, min: 0, step: "any", inputMode: "decimal", placeholder: Math[name === "min" ? "floor" : "ceil"](range[name]) });
    box.onchange = () => go({ [name]: box.value });
    label.append(box);
    row.append(label);
  }
  return set;
}

function toggle(name, value) {
  const flip = values => (values.includes(value) ? values.filter(each => each !== value) : [...values, value]);
  if (name === "category") return go({ category: flip(asked.category) });
  const attribute = name.slice(2), { [attribute]: now = [], ...others } = asked.attributes, next = flip(now);
  go({ attributes: next.length ? { ...others, [attribute]: next } : others });
}

function clear() { go({ category: [], min: "", max: "", attributes: {} }); }
$("#clear").addEventListener("click", clear);
$("#filters form").addEventListener("submit", event => event.preventDefault());

function drawFilters() {
  const counts = [asked.category?.length ?? 0, asked.min ? 1 : 0, asked.max ? 1 : 0, ...Object.values(asked.attributes ?? {}).map(each => each.length)];
  const count = counts.reduce((one, other) => one + other, 0);
  $("#chosen").hidden = $("#clear").hidden = !count;
  $("#chosen").textContent = `${count} on`;
  for (const box of $("#filters").querySelectorAll("input")) {
    if (box.type === "checkbox") box.checked = (box.name === "category" ? asked.category : asked.attributes?.[box.name.slice(2)] ?? [])?.includes(box.value);
    else box.value = asked[box.name] ?? "";
  }
}

// ---- a picture --------------------------------------------------------------------------------------------------------------

async function take(blob) {
  if (!blob) return;
  try {
    const found = await fitted(blob);
    found.number = pictures.size + 1;
    pictures.set(found.number, found);
    go({ picture: found, similar: "" });
  } catch {
    $("#welcome").hidden = true;
    $("#answer").hidden = false;
    trouble("That is no picture", `${blob.name || "What you gave"} cannot be shown here. Give a JPEG, PNG, WebP, GIF, BMP or AVIF file.`, "Choose another", () => $("#file").click());
  }
}

async function fitted(blob) {
  const bitmap = await createImageBitmap(blob), scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const plain = scale === 1 && ["image/jpeg", "image/png", "image/webp"].includes(blob.type) && blob.size < 2 ** 20;
  const small = plain ? blob : await redrawn(bitmap, scale);
  const ratio = bitmap.width / bitmap.height;
  bitmap.close();
  const read = await new Promise((done, refuse) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => refuse(reader.error);
    reader.readAsDataURL(small);
  });
  return { ratio, url: URL.createObjectURL(small), base64: read.slice(read.indexOf(",") + 1) };
}

function redrawn(bitmap, scale) {
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";  // what is transparent is on white, as the server has it
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
}

function showPicture(what, before) {
  $("#chip").hidden = $("#seen").hidden = !what.picture;
  $("#words").placeholder = what.picture ? "Add words…" : "What are you looking for?";
  if (what.picture) {
    $("#chip img").src = $("#stage img").src = what.picture.url;
    $("#stage").style.setProperty("--ratio", what.picture.ratio);
  }
  if (what.picture !== before.picture || what.words !== before.words) cool();
}

// ---- what the model looked at -----------------------------------------------------------------------------------------------

function cool() {
  heat?.abort();
  $("#heat").hidden = $("#legend").hidden = true;
  $("#look").setAttribute("aria-pressed", "false");
  $("#look").disabled = false;
  $("#look").textContent = "What did the model look at?";
}

async function look(about, product) {
  cool();
  heat = new AbortController();
  const { signal } = heat, number = ++heated;
  $("#look").disabled = true;
  $("#look").textContent = "Looking again, part by part…";
  try {
    const answer = await json("/v1/explain", { ...content(asked), about, ...(product && { product: product.id }) }, signal);
    const [found] = answer.results;
    drawHeat(found, product);
    $("#look").textContent = "Hide what the model looked at";
    $("#look").setAttribute("aria-pressed", "true");
    $("#seen").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    $("#look").textContent = error.status === 429 || error.status === 503 ? "Busy. Try again?" : "That did not work. Try again?";
  } finally {
    if (number === heated) $("#look").disabled = false;
  }
}

$("#look").addEventListener("click", () => ($("#look").getAttribute("aria-pressed") === "true" ? cool() : look("categorize")));

function drawHeat(found, product) {
  const size = found.grid.length, largest = Math.max(...found.grid.flat().map(Math.abs), 1e-9), canvas = $("#heat");
  const cells = new OffscreenCanvas(size, size), pen = cells.getContext("2d"), dots = pen.createImageData(size, size);
  found.grid.flat().forEach((value, place) => {
    const strength = value / largest, colour = strength > 0 ? [255, 106, 0] : [34, 102, 255];
    dots.data.set([...colour, Math.round(200 * Math.abs(strength) ** 0.65)], 4 * place);
  });
  pen.putImageData(dots, 0, 0);
  canvas.width = canvas.height = 40 * size;
  const brush = canvas.getContext("2d");
  brush.imageSmoothingEnabled = true;
  brush.imageSmoothingQuality = "high";
  brush.drawImage(cells, 0, 0, canvas.width, canvas.height);
  const best = found.grid.flat().indexOf(Math.max(...found.grid.flat())), where = part(Math.floor(best / size), best % size, size);
  $("#heat-said").textContent = said(found, product, Math.max(...found.grid.flat()), where);
  canvas.setAttribute("aria-label", `Heat-map: the answer hangs most on the ${where} of the picture`);
  canvas.hidden = $("#legend").hidden = false;
}

function said(found, product, most, where) {
  const name = product?.title ?? found.category?.replaceAll(" > ", " › ") ?? found.id;
  if (most <= 0) return `No single part speaks for “${name}”: covering any of them changes nothing for the worse.`;
  return found.about === "categorize"
    ? `“${name}”, ${(100 * found.probability).toFixed(0)} %. Covering the ${where} takes ${(100 * most).toFixed(1)} points of it away.`
    : `“${name}”, score ${found.score.toFixed(2)}. Covering the ${where} takes ${most.toFixed(2)} of it away.`;
}

function part(row, column, size) {
  const third = place => Math.min(2, Math.floor((3 * (place + 0.5)) / size));
  const name = [["upper left", "top", "upper right"], ["left", "middle", "right"], ["lower left", "bottom", "lower right"]];
  return name[third(row)][third(column)];
}

// ---- the passport -----------------------------------------------------------------------------------------------------------

async function showPassport(what, signal) {
  const place = $("#links");
  place.replaceChildren(make("p", "quiet", "Following the links…"));
  $("#passport .back").href = address({ ...what, passport: "" });
  try {
    const text = await (await call(`/v1/predictions/${encodeURIComponent(what.passport)}/page`, null, signal)).text();
    const drawn = new DOMParser().parseFromString(text.slice(text.indexOf("<body>")), "text/html").body;  // its style is ours
    drawn.querySelector("h1")?.remove();
    place.replaceChildren(...drawn.children);
    for (const each of place.querySelectorAll("dd")) if (each.scrollHeight > each.clientHeight) each.tabIndex = 0;  // to be scrolled by keys
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    place.replaceChildren(make("p", "note", error.status === 403 ? "This key may not read passports: it needs the scope audit." : error.message));
  }
  const graph = place.querySelector(".graph");
  if (graph) graph.scrollTop = (graph.scrollHeight - graph.clientHeight) / 2;  // where the answer itself is
  $("#main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

// ---- what a person does -----------------------------------------------------------------------------------------------------

function make(tag, kind = "", text = "") {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

const spoken = name => ({ true: "yes", false: "no" })[name] ?? name.replaceAll("_", " ");

$("#search").addEventListener("submit", event => {
  event.preventDefault();
  const words = $("#words").value.trim();
  if (!words && !asked.picture) return $("#words").focus();
  go({ words, similar: "" });
});
$("#choose").addEventListener("click", () => $("#file").click());
$("#drop").addEventListener("click", () => $("#file").click());
$("#file").addEventListener("change", event => { take(event.target.files[0]); event.target.value = ""; });
$("#remove").addEventListener("click", () => { go({ picture: null }); $("#words").focus(); });

document.addEventListener("click", event => {  // links to what this page shows itself
  const link = event.target.closest("a.why, a.back, a.brand");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const what = link.matches(".brand") ? {} : { picture: asked.picture };
  history.pushState(what.picture ? { picture: what.picture.number } : null, "", link.href);
  show({ ...read(), title: asked.title });
});

const pictureIn = event => [...(event.dataTransfer ?? event.clipboardData)?.files ?? []].find(each => each.type.startsWith("image/"));
const carries = event => [...event.dataTransfer?.types ?? []].includes("Files");
document.addEventListener("paste", event => { const found = pictureIn(event); if (found) { event.preventDefault(); take(found); } });
document.addEventListener("dragenter", event => { if (carries(event)) { dragged += 1; document.body.classList.add("dragged"); } });
document.addEventListener("dragleave", event => { if (carries(event) && --dragged <= 0) dropped(); });
document.addEventListener("dragover", event => { if (carries(event)) event.preventDefault(); });
document.addEventListener("drop", event => {
  if (!carries(event)) return;
  event.preventDefault();
  dropped();
  take(pictureIn(event) ?? event.dataTransfer.files[0]);
});

function dropped() { dragged = 0; document.body.classList.remove("dragged"); }

addEventListener("popstate", () => {
  const what = read();
  if (address(what) !== address(asked) || what.picture !== asked.picture) show(what);  // else a link within the passport
});

function start() {
  const fits = () => { $("#filters").open = !phone.matches; };
  phone.onchange = fits;
  fits();
  loadFacets();
  show(read());
}

start();
