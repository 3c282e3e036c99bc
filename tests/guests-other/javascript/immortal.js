// What makes an object of handlers an immortal: wit/LAYOUT.md in JavaScript.

import random from "wasi:random/random@0.2.0";
import stdout from "wasi:cli/stdout@0.2.0";
import { decode, encode } from "./messagepack.js";
import { utf8 } from "./utf8.js";

const RUN_BYTES = 24;
const MESSAGE_BYTES = 20;
const EFFECT_BYTES = 8 + MESSAGE_BYTES;
const FORK = 1, CALL = 2, REPLY = 3, ERROR = 4, IMPULSE = 5, START = 7, PRIMARY = 8;

// The exports `deliver` and `describe` of an immortal.
//
// `first` runs once in its life, `primary` whenever a replica becomes primary. `methods` has, by name, `arguments`, their
// names, and `run`, which takes them and gives the result. What it throws is the error that the caller gets.
export function immortal({ first = () => {}, primary = () => {}, methods }) {
  const byId = new Map(Object.entries(methods).map(([name, method]) => [idOf(name), method]));

  function handle({ kind, method, callId, bytes }, answer) {
    if (kind === START) return first();
    if (kind === PRIMARY) return primary();
    if (kind !== FORK && kind !== CALL && kind !== IMPULSE) return;
    const wanted = kind !== FORK && callId.some((byte) => byte !== 0);
    try {
      const known = byId.get(method);
      if (known === undefined) throw new Error(`there is no method with the id ${method}`);
      const result = known.run(...argumentsOf(bytes, known.arguments));
      if (wanted) answer(REPLY, encode(result));
    } catch (error) {
      if (wanted) answer(ERROR, encode(String(error.message ?? error)));
      else print(`not done: ${error}`);
    }
  }

  function deliver(runs) {
    const effects = [];
    let cause = 0;
    for (const { peer, messages } of runsOf(runs)) {
      for (const message of messagesOf(messages)) {
        const index = cause++;
        handle(message, (kind, bytes) => effects.push(effect(index, peer, kind, message.callId, bytes)));
      }
    }
    return joined(effects);
  }

  function describe() {
    // componentize-qjs 0.4 hands a u32 over as a signed number, and takes no larger ones.
    const id = (name) => idOf(name) | 0;
    const described = ([name, method]) => ({ id: id(name), name, arguments: method.arguments, messagePack: true });
    return Object.entries(methods).map(described);
  }

  return { deliver, describe };
}

// That of QuickJS goes on from what it was when the component was built, alike in all instances.
Math.random = () => {
  const bytes = new DataView(Uint8Array.from(random.getRandomBytes(8)).buffer);
  return (bytes.getUint32(0) * 2 ** 21 + (bytes.getUint32(4) >>> 11)) / 2 ** 53;
};

// One line on stdout. QuickJS has no `console`.
export function print(line) {
  const stream = stdout.getStdout();
  stream.blockingWriteAndFlush(utf8(`${line}\n`));
  stream[Symbol.dispose]();
}

// FNV-1a.
function idOf(name) {
  return utf8(name).reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193) >>> 0, 0x811c9dc5);
}

function argumentsOf(bytes, names) {
  const values = decode(bytes);
  if (!Array.isArray(values) || values.length !== names.length) {
    throw new Error(`the arguments are (${names.join(", ")})`);
  }
  return values;
}

function* runsOf(runs) {
  const view = new DataView(runs.buffer, runs.byteOffset, runs.byteLength);
  for (let at = 0; at < runs.length; ) {
    const end = at + RUN_BYTES + view.getUint32(at + 16, true);
    yield { peer: view.getUint32(at, true), messages: runs.subarray(at + RUN_BYTES, end) };
    at = end;
  }
}

// The call id stays bytes: a number of JavaScript does not hold 64 bits.
function* messagesOf(messages) {
  const view = new DataView(messages.buffer, messages.byteOffset, messages.byteLength);
  for (let at = 0; at < messages.length; ) {
    const end = at + MESSAGE_BYTES + view.getUint32(at, true);
    yield {
      method: view.getUint32(at + 4, true),
      callId: messages.subarray(at + 8, at + 16),
      kind: messages[at + 16],
      bytes: messages.subarray(at + MESSAGE_BYTES, end),
    };
    at = end;
  }
}

function effect(cause, target, kind, callId, bytes) {
  const whole = new Uint8Array(EFFECT_BYTES + bytes.length);
  const view = new DataView(whole.buffer);
  view.setUint32(0, cause, true);
  view.setUint32(4, target, true);
  view.setUint32(8, bytes.length, true);
  whole.set(callId, 16);
  whole[24] = kind;
  whole.set(bytes, EFFECT_BYTES);
  return whole;
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
