import { Busy, StoreClient } from "/s/files/client.js";
import { qrPicture } from "/s/files/qr.js";
import { WORDS } from "/s/files/words.js";

// /s/ZONE is served by the store itself; /s/TENANT/STORE/ZONE by the platform, which shows what the store has told it.
const places = location.pathname.split("/").filter(Boolean).slice(1);
const zone = places[places.length - 1];
const hosted = places.length > 1;
const client = new StoreClient(hosted ? "/s/" + places.slice(0, -1).join("/") : "");
const AGAIN_MS = 15000;
const $ = (id) => document.getElementById(id);
let language = (localStorage.getItem("language") || navigator.language || "en").startsWith("ja") ? "ja" : "en";
let latest = null;
const word = (key, ...values) => {
  const found = WORDS[language][key];
  return typeof found === "function" ? found(...values) : found;
};

function element(tag, text, parent, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  parent.append(made);
  return made;
}

function money(minor, currency) {
  if (!currency) return "";
  const format = new Intl.NumberFormat(language, { style: "currency", currency });
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

function clock(us) {
  const at = new Date(us / 1000);
  if (!at.getHours() && !at.getMinutes()) return word("midnight");
  return at.toLocaleTimeString(language, { hour: "numeric", minute: "2-digit" });
}

function translate() {
  document.documentElement.lang = language;
  for (const spot of document.querySelectorAll("[data-word]")) spot.textContent = word(spot.dataset.word);
  const other = language === "ja" ? "en" : "ja";
  $("language").textContent = other === "ja" ? "日本語" : "English";
  $("language").lang = other;
  $("scan").hidden = !("BarcodeDetector" in window && navigator.mediaDevices);
  $("consent-part").hidden = !hosted && Boolean(client.receipt);
  $("consent").hidden = hosted;
  $("hosted").hidden = !hosted;
  $("withdraw").hidden = hosted || !client.receipt;
}

// --- what the person keeps: on this phone only, until it expires ----------------------------------------------------

function kept() {
  const rows = JSON.parse(localStorage.getItem("kept") || "[]");
  return rows.filter((row) => row.expires_us / 1000 > Date.now());
}

function keep(row) {
  const others = kept().filter((one) => one.offer !== row.offer);
  localStorage.setItem("kept", JSON.stringify([...others, row]));
}

function titleOf(row) {
  return row.titles[language] || row.titles[""] || row.name;
}

function showAtTill(row) {
  keep(row);
  $("till-title").textContent = titleOf(row);
  $("picture").replaceChildren(qrPicture(row.token, word("show")));
  $("till-until").textContent = word("until", clock(row.expires_us));
  $("till-token").textContent = row.token;
  $("till").showModal();
  draw();
}

// --- drawing --------------------------------------------------------------------------------------------------------

function figures(parent, row) {
  const list = element("ul", "", parent, "figures");
  const now_minor = Math.max(0, row.price_minor - (row.value_minor || 0)), full = money(row.price_minor, row.currency);
  if (row.price_minor && full) element("li", money(now_minor, row.currency), list, "price");
  if (row.value_minor && row.price_minor && full) {
    const before = element("li", "", list, "before");
    before.setAttribute("aria-label", word("before", full));
    element("s", full, before);
  }
  if (row.value_minor) element("li", word("off", money(row.value_minor, row.currency) || row.value_minor), list, "save");
  if (row.on_hand !== undefined) element("li", row.on_hand > 0 ? word("here", row.on_hand) : word("gone"), list, row.on_hand > 0 ? "stock good" : "stock");
}

function online(parent, row) {
  if (row.url && row.url.startsWith("https://")) element("a", word("online"), parent, "button").href = row.url;
}

function card(list, row, offer) {
  const item = element("li", "", list, row.used ? "card used" : "card");
  const title = titleOf(row);
  element("h3", title, item);
  if (title !== row.name) element("p", row.name, item, "name");
  figures(item, row);
  if (row.used) element("p", word("used"), item, "small");
  else if (offer) {
    const code = { ...row, ...offer };
    element("button", word("get"), item, "main").addEventListener("click", () => showAtTill(code));
    element("p", word("until", clock(offer.expires_us)), item, "small");
  } else if (row.why_not.length) element("p", word(row.why_not[0].startsWith("cap person") ? "cap" : "later"), item, "small");
  online(item, row);
}

function draw() {
  const found = latest || { promotions: [], offers: [] };
  const open = new Set(found.offers.map((one) => one.offer));
  const mine = kept();
  $("kept-part").hidden = !mine.length;
  document.body.classList.toggle("keeps", mine.length > 0);
  $("kept").replaceChildren();
  for (const row of mine) {
    // The store no longer names an offer of this zone: it was redeemed.
    const used = Boolean(latest && latest.fresh && row.zone === zone && client.receipt && !open.has(row.offer));
    card($("kept"), { ...row, used }, used ? null : row);
  }
  const list = $("offers"), names = new Set(mine.map((row) => row.promotion + row.gtin));
  list.replaceChildren();
  for (const row of found.promotions) {
    if (names.has(row.promotion + row.gtin) || row.why_not.some((why) => !why.startsWith("cap person"))) continue;
    const offer = found.offers.find((one) => one.promotion === row.promotion && one.gtin === row.gtin);
    card(list, { ...row, zone }, offer);
  }
  if (!list.children.length) element("li", word("none"), list, "card small");
  if (found.zone_name) $("zone").textContent = found.zone_name;
  $("store").textContent = found.store_name || "";
  document.title = [found.zone_name || word("title"), found.store_name].filter(Boolean).join(" · ");
}

async function refresh() {
  translate();
  try {
    const found = await client.offers({ zone });
    latest = { promotions: [], offers: [], ...found, fresh: true };
    if (found) localStorage.setItem("offers-" + zone, JSON.stringify(found));
    $("status").textContent = "";
  } catch (error) {
    $("status").textContent = word(error instanceof Busy ? "busy" : "offline");
    const known = JSON.parse(localStorage.getItem("offers-" + zone)) || { promotions: [], offers: [] };
    const now_us = Date.now() * 1000;
    latest = { ...known, offers: known.offers.filter((one) => one.expires_us > now_us), fresh: false };
  }
  draw();
}

// --- looking for a product ------------------------------------------------------------------------------------------

async function look(code) {
  const place = $("product");
  place.replaceChildren();
  const { status, product } = await client.lookUp(code).catch(() => ({ status: 0 }));
  if (!product) {
    const key = { 0: "offline", 404: "unknown", 422: "wrong", 429: "busy" }[status] || "unknown";
    element("p", word(key), place, "card small");
    return;
  }
  const item = element("div", "", place, "card");
  element("h3", product.name || product.gtin, item);
  figures(item, product);
  const zones = [...new Set(product.shelves.map((shelf) => shelf.zone_name || shelf.zone))];
  if (zones.length) element("p", word("place", zones.join(language === "ja" ? "、" : ", ")), item, "small");
  online(item, product);
}

let stream = null;

function stopScan() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  $("camera").hidden = true;
  $("scan").textContent = word("scan");
}

async function scan() {
  if (stream) return stopScan();
  const detector = new BarcodeDetector({ formats: ["ean_13", "ean_8", "upc_a", "upc_e", "qr_code", "data_matrix"] });
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    return stopScan();
  }
  const camera = $("camera");
  camera.srcObject = stream;
  camera.hidden = false;
  $("scan").textContent = word("stop");
  await camera.play();
  while (stream) {
    const [seen] = await detector.detect(camera).catch(() => []);
    if (seen) {
      stopScan();
      $("code").value = seen.rawValue;
      return look(seen.rawValue);
    }
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

$("language").addEventListener("click", () => {
  language = language === "ja" ? "en" : "ja";
  localStorage.setItem("language", language);
  translate();
  draw();
});
$("consent").addEventListener("click", () => client.consent(["offers"], "2026-11-" + language).then(refresh, refresh));
$("withdraw").addEventListener("click", async () => {
  await client.withdraw().catch(() => undefined);
  for (const key of Object.keys(localStorage)) if (key === "kept" || key.startsWith("offers-")) localStorage.removeItem(key);
  refresh();
});
$("close").addEventListener("click", () => $("till").close());
$("scan").addEventListener("click", scan);
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  look($("code").value.trim());
});
window.addEventListener("online", refresh);
window.addEventListener("offline", refresh);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
setInterval(() => document.hidden || refresh(), AGAIN_MS);
if ("serviceWorker" in navigator) navigator.serviceWorker.register("/s/sw.js").catch(() => undefined);
refresh();
