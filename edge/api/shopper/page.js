import { StoreClient } from "/s/files/client.js";

const WORDS = {
  en: { title: "Offers here", consent: "Show me personal offers", withdraw: "Withdraw consent", code: "Barcode (GTIN)",
    look: "Check stock", here: "in stock here", none: "No offers here right now.", unknown: "Not sold here.",
    offline: "No connection: saved offers", until: "valid until", show: "Show this code at the till",
    online: "Buy online", notice: "We keep a random number for today, never your name, device or account. No data goes to third parties. You may withdraw at any time, and everything that links to you is erased at once (GDPR Art. 6(1)(a), APPI, Telecommunications Business Act, external transmission)." },
  ja: { title: "この売り場のお得情報", consent: "自分向けのお得情報を見る", withdraw: "同意を取り消す", code: "バーコード(GTIN)",
    look: "在庫を確認", here: "点の在庫があります", none: "現在、お得情報はありません。", unknown: "当店では取り扱っておりません。",
    offline: "オフライン:保存済みのお得情報", until: "有効期限", show: "このコードをレジでお見せください",
    online: "オンラインで購入", notice: "本日限りの乱数のみを保存し、氏名・端末・アカウントは保存しません。第三者への送信はありません。同意はいつでも取り消せ、直ちに消去されます(個人情報保護法、電気通信事業法の外部送信規律、GDPR第6条)。" },
};
const client = new StoreClient();
const zone = location.pathname.split("/").pop();
const $ = (id) => document.getElementById(id);
let language = (localStorage.getItem("language") || navigator.language || "en").startsWith("ja") ? "ja" : "en";

function element(tag, text, parent) {
  const made = document.createElement(tag);
  made.textContent = text;
  parent.append(made);
  return made;
}

function words() {
  document.documentElement.lang = language;
  for (const spot of document.querySelectorAll("[data-word]")) spot.textContent = WORDS[language][spot.dataset.word];
  document.title = WORDS[language].title;
  $("language").textContent = language === "ja" ? "English" : "日本語";
  $("consent").hidden = Boolean(client.receipt);
  $("withdraw").hidden = !client.receipt;
}

function show(document_) {
  const list = $("offers");
  list.replaceChildren();
  for (const promotion of document_.promotions) {
    if (promotion.why_not.length) continue;
    const item = element("li", "", list);
    element("h2", promotion.titles[language] || promotion.titles[""] || promotion.name, item);
    element("p", promotion.name, item);
    const offer = document_.offers.find((one) => one.promotion === promotion.promotion && one.gtin === promotion.gtin);
    if (offer) {
      element("p", WORDS[language].show, item);
      element("code", offer.token, item);
      element("p", `${WORDS[language].until} ${new Date(offer.expires_us / 1000).toLocaleTimeString(language)}`, item);
    }
    if (promotion.url.startsWith("https://")) element("a", WORDS[language].online, item).href = promotion.url;
  }
  if (!list.children.length) element("li", WORDS[language].none, list);
}

async function refresh() {
  words();
  try {
    const found = await client.offers({ zone });
    const empty = { promotions: [], offers: [] };
    if (found) localStorage.setItem("offers-" + zone, JSON.stringify(found));
    show(found || empty);
    $("status").textContent = "";
  } catch {
    $("status").textContent = WORDS[language].offline;
    show(JSON.parse(localStorage.getItem("offers-" + zone)) || { promotions: [], offers: [] });
  }
}

$("language").addEventListener("click", () => {
  language = language === "ja" ? "en" : "ja";
  localStorage.setItem("language", language);
  refresh();
});
$("consent").addEventListener("click", async () => {
  await client.consent(["offers"], "2026-11-" + language);
  refresh();
});
$("withdraw").addEventListener("click", async () => {
  await client.withdraw();
  localStorage.removeItem("offers-" + zone);
  refresh();
});
$("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const found = await client.product($("code").value);
  const separator = language === "ja" ? "" : " ";
  $("product").textContent = found ? `${found.name}: ${found.on_hand}${separator}${WORDS[language].here}` : WORDS[language].unknown;
});
if ("serviceWorker" in navigator) navigator.serviceWorker.register("/s/sw.js").catch(() => undefined);
refresh();
