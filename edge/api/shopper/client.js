// A small client of the store's gateway for app teams: copy this file, no build step.
// It keeps one secret: the consent receipt. Offers are tokens that a till redeems once.
export class StoreClient {
  constructor(base = "", storage = globalThis.localStorage) {
    this.base = base;
    this.storage = storage;
    this.cache = new Map();
  }

  get receipt() {
    return this.storage.getItem("smartstore-receipt") || "";
  }

  async ask(path, options = {}) {
    const headers = { ...options.headers };
    if (this.receipt) headers["X-Consent"] = this.receipt;
    return fetch(this.base + path, { ...options, headers });
  }

  async consent(purposes, noticeVersion) {
    const body = JSON.stringify({ purposes, notice_version: noticeVersion });
    const headers = { "Content-Type": "application/json" };
    const answer = await this.ask("/v1/shopper/consent", { method: "POST", headers, body });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    this.storage.setItem("smartstore-receipt", (await answer.json()).receipt);
  }

  async withdraw() {
    await this.ask("/v1/shopper/consent", { method: "DELETE" });
    this.storage.removeItem("smartstore-receipt");
    this.cache.clear();
  }

  // place: {beacon: "ibeacon:<uuid>:<major>:<minor>"} or {zone: "..."}; null where nothing is known of the place.
  async offers(place) {
    const path = "/v1/offers?" + new URLSearchParams(place);
    const known = this.cache.get(path);
    const answer = await this.ask(path, { headers: known ? { "If-None-Match": known.etag } : {} });
    if (answer.status === 304) return known.document;
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Error((await answer.json()).detail);
    const document = await answer.json();
    this.cache.set(path, { etag: answer.headers.get("ETag"), document });
    return document;
  }

  // code: a scanned GTIN or a GS1 Digital Link.
  async product(code) {
    const answer = await this.ask("/v1/shopper/product?" + new URLSearchParams({ code }));
    return answer.ok ? answer.json() : null;
  }
}
