// Keeps the page for a phone without a connection, never the store's answers: what a person keeps is in the page's own
// storage, with its code, and can be shown and redeemed offline.
const PAGE = "/s/page";
const NAME = "smartstore-shopper-2";
const FILES = ["page.css", "page.js", "client.js", "qr.js", "words.js", "icon.svg"].map((name) => "/s/files/" + name);

// The first visit is over before this worker listens, so that its page is fetched once more. /s/page is a page as well.
self.addEventListener("install", (event) => event.waitUntil(caches.open(NAME).then((cache) => cache.addAll([PAGE, ...FILES]))
  .then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(caches.keys().then((names) =>
  Promise.all(names.filter((name) => name !== NAME).map((name) => caches.delete(name)))).then(() => self.clients.claim())));
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || !url.pathname.startsWith("/s/") || url.pathname.includes("/v1/")) return;
  // Every zone is the same page: whichever was opened first serves all of them.
  const key = event.request.mode === "navigate" ? PAGE : event.request;
  event.respondWith(fetch(event.request).then((answer) => {
    if (answer.ok) {
      const copy = answer.clone();
      event.waitUntil(caches.open(NAME).then((cache) => cache.put(key, copy)));
    }
    return answer;
  }).catch(() => caches.match(key)));
});
