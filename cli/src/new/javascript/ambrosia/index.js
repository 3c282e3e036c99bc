// What makes an object with methods an immortal. This file and those beside it are a thin SDK for JavaScript: wit/immortal.wit,
// LAYOUT.md and TYPES.md of Ambrosia in a few hundred lines, which you may change.
//
// A handler runs once for each message, and one after the other. What it throws is the error of whoever asked; what it had changed
// until then stays. State is what is in the fields of the object: not in variables of modules and closures, and not in `#private`
// fields, which a swap of the code does not see.

import { decode, encode } from "./messagepack.js";
import { CannotBeSaved, revived, saved } from "./state.js";
import { any, nothing, record } from "./types.js";
import { text, utf8 } from "./utf8.js";

export * from "./types.js";

const RUN_BYTES = 24;
const MESSAGE_BYTES = 20;
const EFFECT_BYTES = 8 + MESSAGE_BYTES;
const FORK = 1, CALL = 2, REPLY = 3, ERROR = 4, IMPULSE = 5, START = 7, PRIMARY = 8, EXIT = 9, EMIT = 18;
const OUTSIDE = 0;
const NO_CALL = new Uint8Array(8);
const TOPIC_BYTES_MAX = 256;

// What the host offers; `component.js` and `testing.js` set it.
export const world = { instanceName: () => "", attach: () => 0, now: () => ({ seconds: 0, nanoseconds: 0 }) };

// The delivery that is being handled: the number of the message, and what it has all brought about.
let delivery = null;

// A method that may change the state. `takes` has the types of the arguments by their names, in their order, `gives` is that of the
// result, `docs` what tools show.
export function update(takes = {}, gives = nothing, docs = "") {
  return { kind: "update", takes, gives, docs };
}

// A method that changes and sends nothing: it is asked without a record in the log, on any replica. What it changes is thrown away.
export function query(takes = {}, gives = nothing, docs = "") {
  return { kind: "query", takes, gives, docs };
}

// The immortal that consists of an object of `Class`, whose methods of these names are handlers.
//
// The class may have more: `onFirstStart` runs once in the life of an instance, `onBecomingPrimary` whenever a replica becomes primary.
// Where fields change their meaning, `static version` rises, and `static migrate(fields, version)` makes fields of today of those of
// that earlier version, which is 1 at first.
export function immortal(Class, methods) {
  return new Immortal(Class, methods);
}

// The name under which this instance is registered.
export function instanceName() {
  return world.instanceName();
}

// The time of the record that is handled, in milliseconds since 1970; it does not move meanwhile. `Date.now()` is the same.
export function now() {
  const { seconds, nanoseconds } = world.now();
  return Number(seconds) * 1000 + Math.floor(nanoseconds / 1e6);
}

// Has the instance of that name run `method`, exactly once and in order. Nothing comes back.
export function fork(instance, method, ...values) {
  const peer = world.attach(instance);
  if (peer === 0) throw new Error(`no instance can have the name ${instance}, or this one knows as many as it can`);
  push(peer, FORK, encode(values), NO_CALL, idOf(method));
}

// Tells whoever listens outside (`GET /v1/INSTANCE/events`).
export function emit(topic, value) {
  const name = utf8(topic);
  if (name.length > TOPIC_BYTES_MAX) throw new Error(`the topic has ${name.length} bytes, of at most ${TOPIC_BYTES_MAX}`);
  push(OUTSIDE, EMIT, joined([Uint8Array.of(name.length & 0xff, name.length >> 8), name, encode(value)]));
}

// Finishes the instance: every replica ends with that code, and nothing more is handled.
export function exit(code) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, code, true);
  push(OUTSIDE, EXIT, bytes);
  delivery.exits = true;
}

class Immortal {
  constructor(Class, methods) {
    this.Class = Class;
    this.methods = methods;
    this.byId = new Map(Object.entries(methods).map(([name, method]) => [idOf(name), { name, ...method }]));
    this.object = new Class();
    for (const name of Object.keys(methods)) {
      if (typeof Class.prototype[name] !== "function") throw new Error(`the class ${Class.name} has no method ${name}`);
      if (Object.hasOwn(this.object, name)) throw new Error(`${Class.name}.${name} is a field as well as a method`);
    }
  }

  get version() {
    return this.Class.version ?? 1;
  }

  // Handles the runs of one record, and gives the effects.
  deliver(runs) {
    delivery = { cause: 0, effects: [], exits: this.exited === true };
    for (const { peer, messages } of runsOf(runs)) {
      for (const message of messagesOf(messages)) {
        if (!delivery.exits) this.handle(peer, message);
        delivery.cause++;
      }
    }
    const { effects, exits } = delivery;
    [delivery, this.exited] = [null, exits];
    return joined(effects);
  }

  handle(peer, { kind, method, callId, bytes }) {
    switch (kind) {
      case START: return this.object.onFirstStart?.();
      case PRIMARY: return this.object.onBecomingPrimary?.();
      case FORK: return this.answer(peer, NO_CALL, method, bytes);
      case CALL:
      case IMPULSE: return this.answer(peer, callId, method, bytes);
      default: throw new Error(`a message of kind ${kind} can't be delivered: nothing here waits for it`);
    }
  }

  answer(peer, callId, method, bytes) {
    const isAwaited = callId.some((byte) => byte !== 0);
    let answer;
    try {
      answer = [REPLY, encode(this.run(method, bytes))];
    } catch (error) {
      const reason = String(error?.message ?? error);
      if (!isAwaited) console.error(`not done: ${reason}`);
      answer = [ERROR, encode(reason)];
    }
    if (isAwaited) push(peer, ...answer, callId);
  }

  run(id, bytes) {
    const method = this.byId.get(id);
    if (method === undefined) throw new Error(`there is no method with the id ${id}`);
    const values = decode(bytes);
    const takes = Object.entries(method.takes);
    if (!Array.isArray(values) || values.length !== takes.length) {
      throw new Error(`the arguments of ${method.name} are (${takes.map(([name, type]) => `${name}: ${type.text}`).join(", ")})`);
    }
    const taken = takes.map(([name, type], index) => type.take(values[index], name));
    const result = this.object[method.name](...taken);
    if (typeof result?.then === "function") throw new Error(`${method.name} is async, and nothing here can be awaited`);
    return method.gives.give(result, `the result of ${method.name}`);
  }

  describe() {
    const described = ([name, { kind, takes, gives, docs }]) => ({
      // componentize-qjs 0.4 hands a u32 over as a signed number, and takes no larger ones.
      id: idOf(name) | 0,
      name,
      kind,
      arguments: Object.entries(takes).map(([argument, type]) => ({ name: argument, type: type.text })),
      result: gives.text,
      docs,
      formerly: [],
    });
    return Object.entries(this.methods).map(described);
  }

  // What the state is made of, so that the plan of a swap shows fields that come and go.
  describeState() {
    const fields = Object.keys(new this.Class()).map((name) => [name, any]);
    return { name: this.Class.name, version: this.version, type: record(Object.fromEntries(fields)).text };
  }

  // Gives the state to another build of the code. What can't be given is said by `runtime`, which is empty otherwise: an exception
  // would not reach whoever asked for the swap.
  save() {
    const of = (state, why) => ({ version: this.version, state: encode(state), waiting: [], runtime: utf8(why) });
    try {
      return of(saved(this.object), "");
    } catch (error) {
      if (!(error instanceof CannotBeSaved)) throw error;
      return of(null, `${error.message}, which can't be handed over to other code`);
    }
  }

  // Takes the state of another build; returns why it does not, if it does not.
  load({ version, state, waiting, runtime }) {
    if (runtime.length > 0 || waiting.length > 0) return `the code that runs does not give its state away: ${reason(runtime)}`;
    const { name, migrate } = this.Class;
    if (version > this.version) return `the state has version ${version}, and ${name} of this module has version ${this.version}`;
    if (version < this.version && typeof migrate !== "function") {
      return `the state has version ${version}, and ${name} of this module has version ${this.version} and no \`static migrate\``;
    }
    try {
      const then = revived(decode(state));
      const fields = version < this.version ? this.Class.migrate(then, version) : then;
      const object = new this.Class();
      for (const [field, value] of Object.entries(fields)) {
        Object.defineProperty(object, field, { value, writable: true, enumerable: true, configurable: true });
      }
      this.object = object;
      return null;
    } catch (error) {
      return `${name} can't take the state of version ${version}: ${error.message}`;
    }
  }
}

// What another language carries over beside the state is no text.
function reason(runtime) {
  try {
    return text(runtime);
  } catch {
    return "it is written in another language";
  }
}

// FNV-1a.
export function idOf(name) {
  return utf8(name).reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193) >>> 0, 0x811c9dc5);
}

function push(target, kind, bytes, callId = NO_CALL, method = 0) {
  if (delivery === null) throw new Error("this can be done while a message is handled, and at no other time");
  const whole = new Uint8Array(EFFECT_BYTES + bytes.length);
  const view = new DataView(whole.buffer);
  view.setUint32(0, delivery.cause, true);
  view.setUint32(4, target, true);
  view.setUint32(8, bytes.length, true);
  view.setUint32(12, method, true);
  whole.set(callId, 16);
  whole[24] = kind;
  whole.set(bytes, EFFECT_BYTES);
  delivery.effects.push(whole);
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

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
