// QR code (ISO/IEC 18004:2015) of a text in byte mode, error correction L, versions 1 to 20: 858 bytes at most.
// The picture is made on the phone, so that a kept offer can be shown without a connection.
const ECC = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28]; // codewords a block (table 9)
const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8];
const EXP = new Uint8Array(512), LOG = new Uint8Array(256);
for (let i = 0, x = 1; i < 255; i++, x = x & 128 ? (x << 1) ^ 0x11d : x << 1) { EXP[i] = EXP[i + 255] = x; LOG[x] = i; }

const MASKS = [
  (x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2, (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

function alignment(version) { // annex E
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2, last = 4 * version + 10;
  const step = 2 * Math.ceil((last - 6) / (2 * (count - 1)));
  const places = [];
  for (let i = count - 1; i > 0; i--) places.unshift(last - (count - 1 - i) * step);
  return [6, ...places];
}

function codewords(version) { // modules that are no function pattern, in bytes (table 1)
  const count = version > 1 ? Math.floor(version / 7) + 2 : 0;
  const size = 4 * version + 17;
  let modules = size * size - 3 * 64 - 2 * (size - 16) - 31; // finders, timing, format and the dark module
  if (count) modules -= 25 * (count * count - 3) - 10 * (count - 2);
  if (version >= 7) modules -= 36;
  return Math.floor(modules / 8);
}

function correction(data, length) { // remainder of a division in GF(256)
  let generator = [1];
  for (let i = 0; i < length; i++) {
    const next = [...generator, 0];
    generator.forEach((value, k) => { if (value) next[k + 1] ^= EXP[LOG[value] + i]; });
    generator = next;
  }
  const rest = new Uint8Array(data.length + length);
  rest.set(data);
  for (let i = 0; i < data.length; i++) {
    if (!rest[i]) continue;
    const factor = LOG[rest[i]]; // the generator begins with 1
    generator.forEach((value, k) => { if (value) rest[i + k] ^= EXP[LOG[value] + factor]; });
  }
  return rest.slice(data.length);
}

function message(bytes, version) {
  const blocks = BLOCKS[version - 1], ecc = ECC[version - 1];
  const capacity = codewords(version) - blocks * ecc;
  const bits = [];
  const push = (value, width) => { for (let i = width - 1; i >= 0; i--) bits.push((value >> i) & 1); };
  push(4, 4);
  push(bytes.length, version < 10 ? 8 : 16);
  bytes.forEach((byte) => push(byte, 8));
  push(0, Math.min(4, 8 * capacity - bits.length));
  while (bits.length % 8) bits.push(0);
  for (let pad = 0xec; bits.length < 8 * capacity; pad ^= 0xec ^ 0x11) push(pad, 8);
  const data = Uint8Array.from({ length: capacity }, (_, i) => parseInt(bits.slice(8 * i, 8 * i + 8).join(""), 2));
  const short = Math.floor(capacity / blocks), long = capacity % blocks;
  const parts = [];
  for (let b = 0, at = 0; b < blocks; b++) {
    const size = short + (b >= blocks - long ? 1 : 0);
    parts.push(data.slice(at, at += size));
  }
  const checks = parts.map((part) => correction(part, ecc)), all = [];
  for (let i = 0; i <= short; i++) parts.forEach((part) => { if (i < part.length) all.push(part[i]); });
  for (let i = 0; i < ecc; i++) checks.forEach((check) => all.push(check[i]));
  return all;
}

function bch(value, width, generator, rest) { // annexes C and D
  let bits = value << rest;
  for (let i = width + rest - 1; i >= rest; i--) if ((bits >> i) & 1) bits ^= generator << (i - rest);
  return (value << rest) | bits;
}

class Grid {
  constructor(version) {
    this.version = version;
    this.size = 4 * version + 17;
    this.dark = Array.from({ length: this.size }, () => new Uint8Array(this.size));
    this.fixed = Array.from({ length: this.size }, () => new Uint8Array(this.size));
    this.patterns();
  }

  set(x, y, dark) {
    this.dark[y][x] = dark ? 1 : 0;
    this.fixed[y][x] = 1;
  }

  square(cx, cy, radius, rings) {
    for (let y = cy - radius; y <= cy + radius; y++) for (let x = cx - radius; x <= cx + radius; x++) {
      if (x >= 0 && y >= 0 && x < this.size && y < this.size) this.set(x, y, rings.includes(Math.max(Math.abs(x - cx), Math.abs(y - cy))));
    }
  }

  patterns() {
    const { size, version } = this, places = alignment(version);
    for (let i = 0; i < size; i++) { this.set(6, i, i % 2 === 0); this.set(i, 6, i % 2 === 0); }
    [[3, 3], [size - 4, 3], [3, size - 4]].forEach(([x, y]) => this.square(x, y, 4, [0, 1, 3]));
    places.forEach((y, i) => places.forEach((x, k) => {
      const corner = (i === 0 && k === 0) || (i === 0 && k === places.length - 1) || (k === 0 && i === places.length - 1);
      if (!corner) this.square(x, y, 2, [0, 2]);
    }));
    this.format(0);
    if (version < 7) return;
    const bits = bch(version, 6, 0x1f25, 12);
    for (let i = 0; i < 18; i++) {
      const a = size - 11 + (i % 3), b = Math.floor(i / 3), bit = (bits >> i) & 1;
      this.set(a, b, bit);
      this.set(b, a, bit);
    }
  }

  format(mask) {
    const bits = bch((1 << 3) | mask, 5, 0x537, 10) ^ 0x5412, { size } = this; // 01 is level L
    const bit = (i) => (bits >> i) & 1;
    for (let i = 0; i < 6; i++) this.set(8, i, bit(i));
    this.set(8, 7, bit(6)); this.set(8, 8, bit(7)); this.set(7, 8, bit(8));
    for (let i = 9; i < 15; i++) this.set(14 - i, 8, bit(i));
    for (let i = 0; i < 8; i++) this.set(size - 1 - i, 8, bit(i));
    for (let i = 8; i < 15; i++) this.set(8, size - 15 + i, bit(i));
    this.set(8, size - 8, 1);
  }

  fill(all) {
    let at = 0;
    for (let right = this.size - 1; right > 0; right -= 2) {
      if (right === 6) right = 5;
      for (let step = 0; step < this.size; step++) for (const x of [right, right - 1]) {
        const y = ((right + 1) & 2) === 0 ? this.size - 1 - step : step;
        if (this.fixed[y][x]) continue;
        this.dark[y][x] = at < 8 * all.length ? (all[at >> 3] >> (7 - (at & 7))) & 1 : 0;
        at++;
      }
    }
  }

  mask(number) {
    for (let y = 0; y < this.size; y++) for (let x = 0; x < this.size; x++) {
      if (!this.fixed[y][x] && MASKS[number](x, y) === 0) this.dark[y][x] ^= 1;
    }
    this.format(number);
  }

  penalty() { // long runs and squares of one colour are hard to read (7.8.3, its first two rules)
    let points = 0;
    for (let i = 0; i < this.size; i++) for (const of of [(k) => this.dark[i][k], (k) => this.dark[k][i]]) {
      for (let k = 1, run = 1; k <= this.size; k++) {
        if (k < this.size && of(k) === of(k - 1)) { run++; continue; }
        if (run >= 5) points += run - 2;
        run = 1;
      }
    }
    for (let y = 1; y < this.size; y++) for (let x = 1; x < this.size; x++) {
      const sum = this.dark[y][x] + this.dark[y - 1][x] + this.dark[y][x - 1] + this.dark[y - 1][x - 1];
      if (sum % 4 === 0) points += 3;
    }
    return points;
  }
}

// {size, version, mask, rows}: rows of 0 (light) and 1 (dark), without the quiet zone. Throws RangeError for too much text.
export function qrMatrix(text) {
  const bytes = new TextEncoder().encode(text);
  let version = 1;
  const room = (v) => codewords(v) - BLOCKS[v - 1] * ECC[v - 1] - (v < 10 ? 2 : 3);
  while (version <= 20 && room(version) < bytes.length) version++;
  if (version > 20) throw new RangeError(`${bytes.length} bytes: expected at most ${room(20)}`);
  const grid = new Grid(version);
  grid.fill(message(bytes, version));
  let best = 0, least = Infinity;
  for (let mask = 0; mask < 8; mask++) {
    grid.mask(mask);
    const points = grid.penalty();
    if (points < least) { least = points; best = mask; }
    grid.mask(mask); // twice is not at all
  }
  grid.mask(best);
  return { size: grid.size, version, mask: best, rows: grid.dark.map((row) => [...row]) };
}

// An <svg> with a quiet zone of four modules; label is what a screen reader says.
export function qrPicture(text, label) {
  const { size, rows } = qrMatrix(text), SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", `-4 -4 ${size + 8} ${size + 8}`);
  svg.setAttribute("shape-rendering", "crispEdges");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  path.setAttribute("d", rows.map((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : "")).join("")).join(""));
  svg.append(path);
  return svg;
}
