// A small client of the store's gateway for app teams: copy this file, no build step, no dependency.
// It keeps one secret: the consent receipt, which names nobody. Offers are signed tokens that a till redeems once.
//
//   const store = new StoreClient("https://store-7.example.com");
//   await store.consent(["offers"], "notice-2026-11-en");
//   const found = await store.offers({ beacon: "ibeacon:f7826da6-…:1:7" });   // null: nothing is known of the place
//   const stop = store.listen({ zone: "z-1" }, (found) => draw(found));
//   const { advertise } = await store.checkIn("app", { zone: "z-1" });       // with the purpose "zones" only
//   const { eid } = await rotatingId(advertise);                             // what the phone may advertise now
//   await store.withdraw();                                                  // erases what links to this phone

// The store asks to wait: too many requests of this phone, or too many listeners.
export class Busy extends Error {}

// What a phone whose owner agreed to "zones" advertises now: `eid` as Eddystone-EID (service data of UUID FEAA: 30, the
// power at 0 m, then these 8 bytes); or, where an app cannot send service data (iOS), `uuid` as an iBeacon with major
// and minor 0. advertise: as checkIn() told it. Ask again at `untilS` (Unix seconds); null when the day is over.
export async function rotatingId(advertise, nowS = Date.now() / 1000) {
  if (nowS * 1e6 >= advertise.until_us) return null;
  const lasts = 2 ** advertise.exponent, time = Math.floor(nowS / lasts) * lasts;
  const block = (...tail) => Uint8Array.from([...new Array(16 - tail.length).fill(0), ...tail]);
  const temporary = await aes(bytesOf(advertise.key), block(0xff, 0, 0, (time >>> 24) & 255, (time >>> 16) & 255));
  const byte = (shift) => (time >>> shift) & 255;
  const full = await aes(temporary, block(advertise.exponent, byte(24), byte(16), byte(8), byte(0)));
  const hex = Array.from(full, (one) => one.toString(16).padStart(2, "0")).join("");
  const uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  return { eid: hex.slice(0, 16), uuid, untilS: Math.min(time + lasts, advertise.until_us / 1e6) };
}

// One block of AES-128: what CBC makes of it behind an empty one.
async function aes(key, block) {
  const made = await crypto.subtle.importKey("raw", key, "AES-CBC", false, ["encrypt"]);
  const sealed = await crypto.subtle.encrypt({ name: "AES-CBC", iv: new Uint8Array(16) }, made, block);
  return new Uint8Array(sealed, 0, 16);
}

function bytesOf(hex) {
  return Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
}

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
    const answer = await fetch(this.base + path, { ...options, headers });
    if (answer.status === 429 || answer.status === 503) throw new Busy((await answer.json()).detail);
    return answer;
  }

  async post(path, body) {
    const headers = { "Content-Type": "application/json" };
    const answer = await this.ask(path, { method: "POST", headers, body: JSON.stringify(body) });
    const document = await answer.json();
    if (!answer.ok) throw new Error(document.detail);
    return document;
  }

  // purposes: some of "offers", "zones", "measurement"; segments that the person chose to tell.
  async consent(purposes, noticeVersion, segments = []) {
    const given = await this.post("/v1/shopper/consent", { purposes, notice_version: noticeVersion, segments });
    this.storage.setItem("smartstore-receipt", given.receipt);
    this.cache.clear();
  }

  async withdraw() {
    await this.ask("/v1/shopper/consent", { method: "DELETE" });
    this.storage.removeItem("smartstore-receipt");
    this.cache.clear();
  }

  // method: "app", "qr" or "nfc"; place as in offers(), or {} for the store as a whole. The answer's `advertise` is for
  // rotatingId(); it is absent where the person did not agree to "zones".
  async checkIn(method, place = {}) {
    return this.post("/v1/shopper/check-in", { method, ...place });
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

  // Calls tell(document) now and at every change (server-sent events, with the receipt in a header, which EventSource
  // cannot send). Returns a function that ends it. failed(error) is called once when the connection ends.
  listen(place, tell, failed = () => undefined) {
    const control = new AbortController();
    const run = async () => {
      const answer = await this.ask("/v1/offers/live?" + new URLSearchParams(place), { signal: control.signal });
      if (!answer.ok) throw new Error((await answer.json()).detail);
      const reader = answer.body.getReader(), decoder = new TextDecoder();
      for (let text = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) throw new Error("the store ended the connection");
        const events = (text + decoder.decode(value, { stream: true })).split("\n\n");
        text = events.pop();
        for (const event of events) {
          const data = event.split("\n").find((line) => line.startsWith("data: "));
          if (data) tell(JSON.parse(data.slice(6)));
        }
      }
    };
    run().catch((error) => control.signal.aborted || failed(error));
    return () => control.abort();
  }

  // code: a scanned GTIN or a GS1 Digital Link. {status, product}: product is absent where status is not 200.
  async lookUp(code) {
    const answer = await this.ask("/v1/shopper/product?" + new URLSearchParams({ code })).catch((error) => {
      if (error instanceof Busy) return { status: 429, ok: false };
      throw error;
    });
    return { status: answer.status, product: answer.ok ? await answer.json() : undefined };
  }

  // The product of a code, null where it is not sold here.
  async product(code) {
    return (await this.lookUp(code)).product || null;
  }
}
