// The console: live facts, forms that call the API, jobs with progress. No framework, no build step.
"use strict";
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const words = document.body.dataset;

// --- forms ------------------------------------------------------------------------------------------------------
function valuesOf(form, path) {
  const body = {};
  for (const field of $$("[name]", form)) {
    if (field.type === "file" || field.tagName === "BUTTON") continue;
    if (field.dataset.path !== undefined) { path = path.replace(`{${field.name}}`, encodeURIComponent(field.value)); continue; }
    if (field.dataset.link !== undefined || field.dataset.json !== undefined) continue;
    if (field.type === "checkbox") { body[field.name] = field.checked; continue; }
    let value = field.value;
    if (field.type === "number" || field.dataset.number !== undefined) { if (value === "") continue; value = Number(value); }
    if (field.name.endsWith("[]")) { body[field.name.slice(0, -2)] = value ? [value] : []; continue; }
    const steps = field.name.split("."), last = steps.pop();
    steps.reduce((place, step) => (place[step] ||= {}), body)[last] = value;
  }
  const link = $("[data-link]:is(input)", form), more = $("[data-json]", form);
  if (link || more) {
    body.settings = more && more.value.trim() ? JSON.parse(more.value) : {};
    const key = $("option:checked[data-link]", form)?.dataset.link;
    if (link && link.value && key) body.settings[key] = link.value;
  }
  return [path, body];
}

async function call(method, path, body, etag) {
  const options = { method, headers: { Accept: "application/json", "Accept-Language": document.documentElement.lang } };
  if (method !== "GET" && method !== "DELETE") { options.headers["Content-Type"] = "application/json"; options.body = JSON.stringify(body); options.headers["Idempotency-Key"] = [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, "0")).join(""); }
  if (etag) options.headers["If-Match"] = etag;
  let answer;
  try { answer = await fetch(path, options); } catch { return [false, { detail: words.lost }]; }
  const text = await answer.text();
  let document_ = {};
  try { document_ = JSON.parse(text); } catch { document_ = { detail: text }; }
  return [answer.ok, document_];
}

const telling = (problem) => [problem.detail, problem.hint].filter(Boolean).join(" — ");

document.addEventListener("submit", async (event) => {
  const form = event.target, api = form.dataset.api || form.dataset.job;
  if (!api) return;
  event.preventDefault();
  if (form.dataset.sure && !confirm(form.dataset.sure)) return;
  const answer = $(".answer", form), button = $("button", form);
  const [method, place] = api.split(" ");
  if (answer) { answer.textContent = ""; answer.classList.remove("good"); }
  let path, body;
  try { [path, body] = valuesOf(form, place); } catch (error) { answer.textContent = String(error.message); return; }
  button.disabled = true;
  const [ok, result] = await call(method, path, body, form.dataset.etag);
  button.disabled = false;
  if (!ok && result.cause === "edit_conflict" && answer) { conflict(form, answer, result); return; }
  if (!ok) { answer ? (answer.textContent = telling(result)) : toast(telling(result)); return; }
  if (form.dataset.job) { follow(form, result); return; }
  if (form.dataset.show) { answer.textContent = form.dataset.lead; const code = document.createElement("code"); code.textContent = result[form.dataset.show]; answer.append(code); return; }
  const then = form.dataset.then;
  if (then === "reload") { refresh(true); form.reset(); toast("✓"); }
  else if (then === "next") { const next = new URLSearchParams(location.search).get("next") || "/"; location = next.startsWith("/") && !next.startsWith("//") ? next : "/"; }
  else if (then) location = then.replace("{id}", encodeURIComponent(result.id || ""));
  else if (answer) { answer.textContent = "✓"; answer.classList.add("good"); }
});

function toast(text) {
  const said = $("#said");
  said.textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { said.textContent = ""; }, 4000);
}

// --- jobs -------------------------------------------------------------------------------------------------------
function follow(form, job) {
  const bar = $("progress", form), answer = $(".answer", form);
  bar.hidden = false;
  const source = new EventSource(`/v1/jobs/${job.id}/live`);
  source.addEventListener("job", (event) => {
    const now = JSON.parse(event.data);
    bar.value = now.progress;
    answer.textContent = now.error ? telling(now.error) : now.step;
    if (now.state === "running") return;
    source.close();
    bar.hidden = true;
    answer.classList.toggle("good", now.state === "done");
    if (now.state === "done") {
      answer.textContent = now.result?.passed === false ? "✗ " + now.step : "✓ " + now.step;
      form.dispatchEvent(new CustomEvent("done", { bubbles: true, detail: now.result }));
      if (form.dataset.then === "reload") refresh(true);
    }
  });
}

// --- import: look first, then apply --------------------------------------------------------------------------------
const shown = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value)).slice(0, 80);
function change(answer, row) {
  const line = document.createElement("div"), name = document.createElement("strong");
  line.className = "diff";
  name.textContent = [row.section, row.entry].filter(Boolean).join(" · ") + (row.change === "added" ? ` (${answer.dataset.added})` : row.change === "removed" ? ` (${answer.dataset.removed})` : "");
  line.append(name);
  for (const [field, [before, after]] of Object.entries(row.fields || {})) {
    const part = document.createElement("span"), old = document.createElement("s"), fresh = document.createElement("ins");
    old.textContent = shown(before); fresh.textContent = shown(after);
    part.append(`${field}: `, old, " → ", fresh);
    line.append(part);
  }
  return line;
}
const plain = (text) => Object.assign(document.createElement("div"), { textContent: text });

// Somebody was first: both versions are shown, and pressing again puts this one in effect.
function conflict(form, answer, result) {
  const differ = (one, other) => JSON.stringify(one) !== JSON.stringify(other), { current, yours } = result;
  const only = (mine, theirs) => (Array.isArray(mine) && Array.isArray(theirs) ? mine.filter((row) => !theirs.some((other) => !differ(row, other))) : mine);
  const keys = Object.keys({ ...current, ...yours }).filter((key) => differ(current[key], yours[key]));
  answer.replaceChildren(plain(telling(result)), ...keys.map((key) => change(answer, { fields: { [key]: [only(current[key], yours[key]), only(yours[key], current[key])] } })));
  form.dataset.etag = result.etag;
}

for (const load of $$(".import")) load.addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = $("input[type=file]", load).files[0], dry = event.submitter.name === "dry", answer = load.nextElementSibling, content = await file.text();
  let path = load.dataset.import;
  if (path === "auto") path = /"devices"\s*:/.test(content) && /"planogram"\s*:/.test(content) ? "/v1/configuration" : "/v1/planogram";
  let response, result;
  try {
    response = await fetch(path + (dry ? "?dry_run=true" : ""), { method: "PUT", headers: { "Content-Type": load.dataset.type, "Accept-Language": document.documentElement.lang }, body: content });
    result = await response.json();
  } catch { answer.replaceChildren(plain(words.lost)); return; }
  answer.classList.toggle("good", response.ok);
  load.elements.go.disabled = !(response.ok && dry);
  if (!response.ok) { answer.replaceChildren(plain(telling(result))); return; }
  const warnings = (result.warnings || []).map((row) => plain(`${row.lane}: ${row.detail}`));
  const head = plain(!dry ? answer.dataset.applied : result.changes.length ? answer.dataset.changes.replace("#", result.changes.length) : answer.dataset.none);
  answer.replaceChildren(head, ...result.changes.slice(0, 20).map((row) => change(answer, row)), ...warnings);
  if (!dry) refresh(true);
});

// --- live -------------------------------------------------------------------------------------------------------
const pill = $("#link"), feed = $("#feed"), factWords = JSON.parse(feed?.dataset.words || "{}"), store = document.body.classList.contains("page-store");
const parts = $$("[data-part]").filter((part) => part.dataset.part !== "badge").length > 0;
let due = 0, busy = false, waiting = [], drawing = false;

function show(state, text) { pill.className = `pill ${state}`; $(".text", pill).textContent = text; }

// Parts of the page are rendered by the gateway: fetch the page again and swap what differs, at most once a second.
async function refresh(now) {
  if (busy) { due ||= Date.now() + 500; return; }
  if (!now && document.hidden) { due = Date.now() + 2000; return; }
  busy = true; due = 0;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname === "/sign-in") { location.reload(); return; }
    if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of $$("[data-part]")) {
        const next = $(`[data-part="${part.dataset.part}"]`, fresh);
        const active = part.contains(document.activeElement) ? document.activeElement : null;
        if (!next || next.innerHTML === part.innerHTML || active?.matches("input:not([type=hidden]),select,textarea") || $("progress:not([hidden])", part)) continue;
        part.replaceChildren(...next.childNodes);
        if (active) $("button,a", part)?.focus({ preventScroll: true });
        part.hidden = next.hidden;
      }
    }
  } catch { /* the live connection says that it is lost */ } finally { setTimeout(() => { busy = false; }, 900); }
}
setInterval(() => { if (due && Date.now() >= due) refresh(); }, 200);
if ($("[data-every]")) setInterval(() => { due ||= Date.now(); }, 5000); // links and trials that no fact tells of

function describe(fact) {
  const shelf = fact.shelf ? `${factWords.shelf} ${fact.shelf.replace(/^shelf-/, "")}` : "";
  return [shelf, fact.zone, fact.device, fact.beacon, fact.actor, fact.cause].filter(Boolean).join(" · ");
}

function row(fact) {
  const item = document.createElement("li"), time = document.createElement("time"), text = document.createElement("strong"), small = document.createElement("small");
  time.textContent = new Date(fact.time_us / 1000).toLocaleTimeString(document.documentElement.lang, { hour12: false, timeZone: feed.dataset.zone });
  const kind = fact.type.split(".")[1];
  text.textContent = (factWords[kind] || kind.replace(/([a-z])([A-Z])/g, "$1 $2")).replace("{n}", fact.quantity ?? fact.people ?? fact.on_hand ?? "");
  const name = fact.gtin && $(`.num[data-pair$="|${CSS.escape(fact.gtin)}"]`)?.closest("a")?.querySelector("span")?.textContent;
  small.textContent = [name, describe(fact)].filter(Boolean).join(" · ");
  item.append(time, text, small);
  return item;
}

function flash(element) { element.classList.remove("flash"); requestAnimationFrame(() => element.classList.add("flash")); }

// All facts of a frame are drawn together, so a burst costs one layout.
function draw() {
  drawing = false;
  const facts = waiting; waiting = [];
  const shelves = new Set();
  for (const fact of facts) {
    if (fact.type === "inventory.OnHandChanged") {
      for (const mark of $$(`[data-pair="${CSS.escape(`${fact.shelf}|${fact.gtin}`)}"]`)) {
        mark.dataset.n = fact.on_hand;
        if (mark.classList.contains("num")) mark.textContent = fact.on_hand;
        else if (mark.dataset.foot) {
          const floor = mark.ownerSVGElement.dataset, high = fact.on_hand ? floor.bar * Math.min(1, fact.on_hand / floor.full) : 3;
          mark.setAttribute("height", high);
          mark.setAttribute("y", mark.dataset.foot - high);
        }
      }
      shelves.add(fact.shelf);
    } else if (fact.type === "footfall.Occupancy") {
      for (const text of $$("[data-people]")) text.textContent = fact.known ? fact.people : "–";
      for (const door of $$(".doorway")) flash(door);
    } else if (fact.type === "inventory.StockUnknown") {
      for (const group of $$(`.shelf[data-shelf="${CSS.escape(fact.shelf)}"]`)) group.classList.toggle("unknown", !fact.known);
    } else if (fact.device) {
      const state = fact.type.split(".")[1].toLowerCase();
      if (["online", "offline", "degraded"].includes(state)) for (const mark of $$(`svg [data-device="${CSS.escape(fact.device)}"]`)) { mark.classList.remove("online", "offline", "degraded"); mark.classList.add(state); }
    }
  }
  for (const shelf of shelves) {
    const groups = $$(`.shelf[data-shelf="${CSS.escape(shelf)}"]`); // on the map of a desk, and on that of a phone
    const sum = groups.length ? $$("[data-pair]", groups[0]).reduce((total, pip) => total + Number(pip.dataset.n || 0), 0) : 0;
    for (const text of $$(`[data-sum="${CSS.escape(shelf)}"]`)) text.textContent = sum;
    groups.forEach(flash);
  }
  if (feed) {
    const shown = facts.filter((fact) => /^(inventory|hold|footfall|device|reorder|promotion|security)/.test(fact.type)).slice(-24).reverse();
    feed.prepend(...shown.map(row));
    while (feed.children.length > 24) feed.lastChild.remove();
  }
}

if (pill) {
  let source, last = "", retry = 1000;
  const open = () => {
    source = new EventSource(last ? `/v1/facts/live?after=${last}` : "/v1/facts/live"); // the browser sends Last-Event-ID when it reconnects by itself
    source.addEventListener("open", () => { retry = 1000; show("live", words.live); if (last) refresh(true); });
    source.addEventListener("error", () => {
      show("lost", words.lost);
      if (source.readyState === EventSource.CLOSED) { setTimeout(open, retry); retry = Math.min(retry * 2, 15000); }
    });
    source.addEventListener("signed-out", () => { source.close(); location.reload(); });
    source.addEventListener("fact", (event) => {
      last = event.lastEventId;
      window.factsSeen = (window.factsSeen || 0) + 1;
      const fact = JSON.parse(event.data);
      if (store) { waiting.push(fact); if (!drawing) { drawing = true; requestAnimationFrame(draw); } }
      if (parts) due ||= Date.now() + 300;
    });
  };
  open();
  if (feed) fetch("/v1/facts/newest?limit=24").then((answer) => answer.json()).then((facts) => { waiting.push(...facts); draw(); }).catch(() => {});
}

// --- joining a platform: look at the bundle, compare the fingerprint, join ---------------------------------------------
const enrol = $("#enrol");
if (enrol) {
  const text = enrol.elements.bundle, pane = $(".compare", enrol), answer = $(".answer", enrol);
  $("input[type=file]", enrol).addEventListener("change", async (event) => { if (event.target.files[0]) text.value = (await event.target.files[0].text()).trim(); });
  text.addEventListener("input", () => { pane.hidden = true; });
  enrol.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.textContent = "";
    const joining = event.submitter.name === "join", print = $(".fingerprint", enrol).textContent;
    const [ok, result] = await call("POST", `/v1/enrolment${joining ? "" : "/check"}`, { bundle: text.value, ...(joining && { fingerprint: print }) });
    if (!ok) { answer.textContent = telling(result); return; }
    if (joining) { location.reload(); return; }
    $(".of", enrol).textContent = `${result.tenant} / ${result.store}`;
    $(".hosts", enrol).textContent = result.hosts.join(" ");
    $(".expires", enrol).textContent = result.expires;
    $(".match", enrol).textContent = result.trusted ? enrol.dataset.trusted : enrol.dataset.match;
    $(".fingerprint", enrol).textContent = result.fingerprint;
    pane.hidden = false;
  });
}
const scan = $("#wifi .scan");
if (scan) scan.addEventListener("click", async () => {
  const [ok, rows] = await call("GET", "/v1/network/wifi"), answer = $("#wifi .answer"), list = $("#wifi .air");
  answer.textContent = ok ? (rows.length ? "" : $("#wifi").dataset.none) : telling(rows);
  list.replaceChildren(...(ok ? rows : []).map((row) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button"; button.className = "air-row";
    button.textContent = `${row.ssid} · ${row.strength} %${row.secured ? " 🔒" : ""}`;
    button.addEventListener("click", () => { $("#wifi [name=ssid]").value = row.ssid; $("#wifi [name=password]").focus(); });
    item.append(button);
    return item;
  }));
});

// --- small things -------------------------------------------------------------------------------------------------
for (const box of $$(".plotbox")) box.scrollLeft = box.scrollWidth; // now is on the right
const code = $("#code");
function takeCode() {
  if (!code || !location.hash.includes("code=")) return;
  code.value = new URLSearchParams(location.hash.slice(1)).get("code") || "";
  history.replaceState(null, "", "/claim"); // the code does not stay in the history
}
takeCode();
addEventListener("hashchange", takeCode);
for (const button of $$("[data-print]")) button.addEventListener("click", () => print());
