// The part of MessagePack that JSON has too: nil, booleans, numbers, texts, arrays and maps with texts as keys.

import { text, utf8 } from "./utf8.js";

export function encode(value) {
  const out = [];
  write(out, value);
  return Uint8Array.from(out);
}

export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new Error("there are bytes behind the value");
  return value;
}

function write(out, value) {
  if (value === null || value === undefined) out.push(0xc0);
  else if (typeof value === "boolean") out.push(value ? 0xc3 : 0xc2);
  else if (typeof value === "number") writeNumber(out, value);
  else if (typeof value === "string") {
    const bytes = utf8(value);
    writeLength(out, bytes.length, 0xa0, 32, 0xda);
    for (const byte of bytes) out.push(byte);
  } else if (Array.isArray(value)) {
    writeLength(out, value.length, 0x90, 16, 0xdc);
    for (const item of value) write(out, item);
  } else if (typeof value === "object") {
    const entries = Object.entries(value);
    writeLength(out, entries.length, 0x80, 16, 0xde);
    for (const [key, item] of entries) {
      write(out, key);
      write(out, item);
    }
  } else throw new Error(`a ${typeof value} can't be sent`);
}

function writeNumber(out, value) {
  if (Number.isInteger(value) && value >= -32 && value < 128) return out.push(value & 0xff);
  const bytes = new DataView(new ArrayBuffer(8));
  if (Number.isSafeInteger(value)) {
    out.push(0xd3);
    bytes.setBigInt64(0, BigInt(value));
  } else {
    out.push(0xcb);
    bytes.setFloat64(0, value);
  }
  for (let at = 0; at < 8; at++) out.push(bytes.getUint8(at));
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

  value() {
    const head = this.view.getUint8(this.take(1));
    if (head < 0x80) return head;
    if (head < 0x90) return this.map(head & 0x0f);
    if (head < 0xa0) return this.array(head & 0x0f);
    if (head < 0xc0) return this.text(head & 0x1f);
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
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
      case 0xdc: return this.array(this.view.getUint16(this.take(2)));
      case 0xdd: return this.array(this.view.getUint32(this.take(4)));
      case 0xde: return this.map(this.view.getUint16(this.take(2)));
      case 0xdf: return this.map(this.view.getUint32(this.take(4)));
      default: throw new Error(`MessagePack of the type 0x${head.toString(16)} is not understood`);
    }
  }

  // The place of the next bytes. A DataView throws at its end, and `subarray` does not.
  take(count) {
    const at = this.at;
    this.at += count;
    if (this.at > this.bytes.length) throw new Error("the value is cut off");
    return at;
  }

  text(length) {
    const at = this.take(length);
    return text(this.bytes.subarray(at, at + length));
  }

  array(count) {
    const values = [];
    for (let index = 0; index < count; index++) values.push(this.value());
    return values;
  }

  map(count) {
    const map = {};
    for (let index = 0; index < count; index++) {
      const key = this.value();
      map[key] = this.value();
    }
    return map;
  }
}

// A number of JavaScript, if it holds it exactly.
function whole(big) {
  const number = Number(big);
  if (!Number.isSafeInteger(number)) throw new Error(`${big} is too large for a number of JavaScript`);
  return number;
}
