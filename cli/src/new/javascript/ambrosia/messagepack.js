// MessagePack, in which arguments, results and states travel: nil, booleans, numbers, texts, bytes, arrays and maps.

import { text, utf8 } from "./utf8.js";

// Values are in one another at most so deep.
const DEPTH_MAX = 256;

export function encode(value) {
  const out = [];
  write(out, value, 0);
  return Uint8Array.from(out);
}

// Whole numbers that a number of JavaScript does not hold exactly become a BigInt, maps whose keys are no texts a Map.
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new Error("there are bytes behind the value");
  return value;
}

function write(out, value, depth) {
  if (depth > DEPTH_MAX) throw new Error(`values are in one another deeper than ${DEPTH_MAX}`);
  if (value === null || value === undefined) out.push(0xc0);
  else if (typeof value === "boolean") out.push(value ? 0xc3 : 0xc2);
  else if (typeof value === "number") writeNumber(out, value);
  else if (typeof value === "bigint") writeBig(out, value);
  else if (typeof value === "string") writeText(out, value);
  else if (value instanceof Uint8Array) writeBytes(out, value);
  else if (Array.isArray(value)) {
    writeLength(out, value.length, 0x90, 16, 0xdc);
    for (const item of value) write(out, item, depth + 1);
  } else if (value instanceof Map) writeMap(out, [...value], depth);
  else if (typeof value === "object") writeMap(out, Object.entries(value), depth);
  else throw new Error(`a ${typeof value} is no value that can be sent`);
}

function writeNumber(out, value) {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) return writeWhole(out, value);
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  writeView(out, 0xcb, view);
}

// In the shortest form.
function writeWhole(out, value) {
  if (value >= -32 && value < 128) return out.push(value & 0xff);
  const fits = (size) => (value >= 0 ? value < 256 ** size : value >= -(256 ** size) / 2);
  const size = [1, 2, 4, 8].find(fits);
  out.push((value >= 0 ? 0xcc : 0xd0) + Math.log2(size));
  for (let at = size - 1; at >= 0; at--) out.push(Math.floor(value / 256 ** at) & 0xff);
}

function writeBig(out, value) {
  if (value < -(1n << 63n) || value >= 1n << 64n) throw new Error(`${value} has more than 64 bits`);
  const view = new DataView(new ArrayBuffer(8));
  if (value < 0n) view.setBigInt64(0, value);
  else view.setBigUint64(0, value);
  writeView(out, value < 0n ? 0xd3 : 0xcf, view);
}

function writeView(out, head, view) {
  out.push(head);
  for (let at = 0; at < view.byteLength; at++) out.push(view.getUint8(at));
}

function writeText(out, value) {
  const bytes = utf8(value);
  if (bytes.length >= 32 && bytes.length < 0x100) out.push(0xd9, bytes.length);
  else writeLength(out, bytes.length, 0xa0, 32, 0xda);
  for (const byte of bytes) out.push(byte);
}

function writeBytes(out, bytes) {
  if (bytes.length < 0x100) out.push(0xc4, bytes.length);
  else writeLength(out, bytes.length, 0, 0, 0xc5);
  for (const byte of bytes) out.push(byte);
}

function writeMap(out, entries, depth) {
  writeLength(out, entries.length, 0x80, 16, 0xde);
  for (const [key, item] of entries) {
    write(out, key, depth + 1);
    write(out, item, depth + 1);
  }
}

// A short length is in the first byte, others are two or four bytes behind `wide` or the number after it.
function writeLength(out, length, short, shortMax, wide) {
  if (length < shortMax) out.push(short | length);
  else if (length < 0x10000) out.push(wide, length >> 8, length & 0xff);
  else out.push(wide + 1, length >>> 24, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff);
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  value(depth) {
    if (depth > DEPTH_MAX) throw new Error(`values are in one another deeper than ${DEPTH_MAX}`);
    const head = this.view.getUint8(this.take(1));
    if (head < 0x80) return head;
    if (head < 0x90) return this.map(head & 0x0f, depth);
    if (head < 0xa0) return this.array(head & 0x0f, depth);
    if (head < 0xc0) return this.text(head & 0x1f);
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.slice(this.view.getUint8(this.take(1)));
      case 0xc5: return this.slice(this.view.getUint16(this.take(2)));
      case 0xc6: return this.slice(this.view.getUint32(this.take(4)));
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: return this.view.getUint8(this.take(1));
      case 0xcd: return this.view.getUint16(this.take(2));
      case 0xce: return this.view.getUint32(this.take(4));
      case 0xcf: return whole(this.view.getBigUint64(this.take(8)));
      case 0xd0: return this.view.getInt8(this.take(1));
      case 0xd1: return this.view.getInt16(this.take(2));
      case 0xd2: return this.view.getInt32(this.take(4));
      case 0xd3: return whole(this.view.getBigInt64(this.take(8)));
      case 0xd9: return this.text(this.view.getUint8(this.take(1)));
      case 0xda: return this.text(this.view.getUint16(this.take(2)));
      case 0xdb: return this.text(this.view.getUint32(this.take(4)));
      case 0xdc: return this.array(this.view.getUint16(this.take(2)), depth);
      case 0xdd: return this.array(this.view.getUint32(this.take(4)), depth);
      case 0xde: return this.map(this.view.getUint16(this.take(2)), depth);
      case 0xdf: return this.map(this.view.getUint32(this.take(4)), depth);
      default: throw new Error(`MessagePack of the type 0x${head.toString(16)} is not understood`);
    }
  }

  // The place of the next bytes.
  take(count) {
    const at = this.at;
    this.at += count;
    if (this.at > this.bytes.length) throw new Error("the value is cut off");
    return at;
  }

  slice(length) {
    const at = this.take(length);
    return this.bytes.slice(at, at + length);
  }

  text(length) {
    return text(this.slice(length));
  }

  array(count, depth) {
    const values = [];
    for (let index = 0; index < count; index++) values.push(this.value(depth + 1));
    return values;
  }

  map(count, depth) {
    const entries = [];
    for (let index = 0; index < count; index++) entries.push([this.value(depth + 1), this.value(depth + 1)]);
    return entries.every(([key]) => typeof key === "string") ? Object.fromEntries(entries) : new Map(entries);
  }
}

function whole(big) {
  const number = Number(big);
  return Number.isSafeInteger(number) ? number : big;
}
