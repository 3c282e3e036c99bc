// Tests without a host: messages go in and effects come out as bytes, as in a component.

import { idOf, world } from "./index.js";
import { decode, encode } from "./messagepack.js";

const CALL_ID = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
const FORK = 1, REPLY = 3, ERROR = 4, IMPULSE = 5, START = 7, PRIMARY = 8, EXIT = 9, EMIT = 18;

export class Harness {
  // The time, in milliseconds since 1970.
  now = 0;
  // What was forked, as `{ instance, method, values }`, where `method` is its id; what was emitted, as `{ topic, value }`; and the exit.
  forks = [];
  events = [];
  exitCode = null;
  #peers = [];

  // An instance of that immortal that has just begun.
  constructor(immortal, name = "test") {
    this.immortal = immortal;
    Object.assign(world, {
      instanceName: () => name,
      attach: (peer) => this.#peers.indexOf(peer) + 1 || this.#peers.push(peer),
      now: () => ({ seconds: Math.floor(this.now / 1000), nanoseconds: (this.now % 1000) * 1e6 }),
    });
    immortal.object = new immortal.Class();
    immortal.exited = false;
    this.#deliver(message(START), message(PRIMARY));
  }

  // The object that the instance is.
  get state() {
    return this.immortal.object;
  }

  // Runs a method, and returns its result.
  ask(method, ...values) {
    const isQuery = this.immortal.methods[method]?.kind === "query";
    const before = isQuery && String(this.immortal.save().state);
    const answer = this.#deliver(message(IMPULSE, idOf(method), CALL_ID, encode(values)));
    if (isQuery && String(this.immortal.save().state) !== before) {
      throw new Error(`${method} is a query, and has changed the state`);
    }
    if (answer?.kind === ERROR) throw new Error(decode(answer.bytes));
    return answer && decode(answer.bytes);
  }

  // Goes on as another replica does that takes over.
  takeOver() {
    this.#deliver(message(PRIMARY));
  }

  // Goes on as other code, as `upgrade` and `up --watch` have it.
  swap(immortal) {
    const refusal = immortal.load(this.immortal.save());
    if (refusal !== null) throw new Error(refusal);
    this.immortal = immortal;
  }

  #deliver(...messages) {
    const bytes = [].concat(...messages);
    const run = [...u32(0), ...u32(messages.length), ...new Array(8).fill(0), ...u32(bytes.length), ...u32(0), ...bytes];
    const effects = this.immortal.deliver(Uint8Array.from(run));
    let answer;
    for (const effect of effectsOf(effects)) {
      const { target, kind, method, bytes } = effect;
      if (kind === REPLY || kind === ERROR) answer = effect;
      if (kind === FORK) this.forks.push({ instance: this.#peers[target - 1], method, values: decode(bytes) });
      if (kind === EXIT) this.exitCode = new DataView(bytes.buffer).getInt32(0, true);
      if (kind === EMIT) {
        const value = 2 + bytes[0] + bytes[1] * 256;
        this.events.push({ topic: new TextDecoder().decode(bytes.slice(2, value)), value: decode(bytes.slice(value)) });
      }
    }
    return answer;
  }
}

function message(kind, method = 0, callId = new Uint8Array(8), bytes = []) {
  return [...u32(bytes.length), ...u32(method), ...callId, kind, 0, 0, 0, ...bytes];
}

function* effectsOf(effects) {
  const view = new DataView(effects.buffer, effects.byteOffset, effects.byteLength);
  for (let at = 0; at < effects.length; ) {
    const end = at + 28 + view.getUint32(at + 8, true);
    const [target, method, kind] = [view.getUint32(at + 4, true), view.getUint32(at + 12, true), effects[at + 24]];
    yield { target, kind, method, bytes: effects.slice(at + 28, end) };
    at = end;
  }
}

function u32(value) {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}
