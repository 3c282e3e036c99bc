// The SDK of projects in JavaScript, run in such a project: `tests/integration/new_languages.rs` does so. AMBROSIA_WIT is the folder `wit`
// of the repository, whose golden files hold the SDKs of all languages.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const sdk = (name) => import(pathToFileURL(join(process.cwd(), "ambrosia", name)));
const golden = (name) => readFileSync(join(process.env.AMBROSIA_WIT, "golden", name));
const ambrosia = await sdk("index.js");
const { decode, encode } = await sdk("messagepack.js");
const { Harness } = await sdk("testing.js");

test("values are encoded as the golden file has them", () => {
  const rows = golden("values.tsv").toString().trimEnd().split("\n").map((row) => row.split("\t"));
  assert.ok(rows.length > 20);
  for (const [type, json, hex] of rows) {
    const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
    assert.equal(Buffer.from(encode(decode(bytes))).toString("hex"), hex, `${type} ${json}`);
  }
});

test("what is cut off, goes on, or is too deep is refused", () => {
  for (const value of [[1, "two", { three: 3.5 }], "x".repeat(70_000), new Uint8Array(300), [-129, 40_000, -40_000, 2 ** 40]]) {
    const bytes = encode(value);
    assert.deepEqual(decode(bytes), value);
    for (const length of [0, 1, bytes.length - 1]) assert.throws(() => decode(bytes.slice(0, length)), /cut off/);
    assert.throws(() => decode(Uint8Array.of(...bytes, 0)), /behind the value/);
  }
  assert.throws(() => decode(new Uint8Array(100_000).fill(0x91)), /deeper than 256/);
  assert.throws(() => decode(Uint8Array.of(0xa1, 0xff)), /not UTF-8/);
  assert.equal(decode(encode("\ud800")), "\ufffd");
});

// The effects of one handler, as bytes.
function effectsOf(run) {
  class One {
    now() {
      return run();
    }
  }
  const one = ambrosia.immortal(One, { now: ambrosia.update({}, ambrosia.any) });
  new Harness(one);
  const bytes = encode([]);
  const message = new Uint8Array(44 + bytes.length);
  const view = new DataView(message.buffer);
  view.setUint32(4, 1, true);
  view.setUint32(16, 20 + bytes.length, true);
  view.setUint32(24, bytes.length, true);
  view.setUint32(28, ambrosia.idOf("now"), true);
  message[40] = 1;
  message.set(bytes, 44);
  return Buffer.from(one.deliver(message));
}

test("effects are laid out as the golden files have them", () => {
  assert.equal(ambrosia.idOf("add"), 0x3b391274);
  const forked = effectsOf(() => ambrosia.fork("peer", "add", 5));
  assert.deepEqual(forked, golden("effects.bin").subarray(0, forked.length));
  const emitted = effectsOf(() => ambrosia.emit("paid", 7)).subarray(8);
  assert.ok(golden("outside.bin").includes(emitted));
  const exit = effectsOf(() => ambrosia.exit(-2)).subarray(8);
  assert.ok(golden("messages.bin").includes(exit));
});

test("a handler gets and gives what its types say, and nothing else", () => {
  const { any, bool, bytes, choice, f64, list, map, nothing, option, record, result, s8, string, tuple, u32, u64, variant } = ambrosia;
  const order = record({ number: string, pieces: u32, note: option(string) });
  const cases = [
    [u64, 7, 7, [-1, 1.5, "7", 2n ** 60n, null]],
    [s8, -128, -128, [128, -129]],
    [f64, 1, 1, ["1", null]],
    [bool, true, true, [0, null]],
    [nothing, null, null, [0]],
    [option(u32), null, null, ["x"]],
    [bytes, [1, 2], Uint8Array.of(1, 2), [[256], "x"]],
    [list(u32), [1, 2], [1, 2], [[1, "x"], 1, {}]],
    [tuple(u32, string), [1, "x"], [1, "x"], [[1], [1, "x", 2]]],
    [map(string, u32), { a: 1 }, new Map([["a", 1]]), [{ a: "x" }, [1]]],
    [order, { number: "o", pieces: 2, more: 1 }, { number: "o", pieces: 2, note: null }, [{ number: "o" }, [], "o"]],
    [choice("red", "green"), "red", "red", ["blue", 1]],
    [variant({ Sold: nothing, At: u32 }), { At: 3 }, { At: 3 }, ["At", { At: "x" }, { Sold: null, At: 1 }, "toString"]],
    [result(u32, string), { Err: "no" }, { Err: "no" }, [{}, { Ok: "x" }]],
    [any, { deep: [1] }, { deep: [1] }, []],
  ];
  for (const [type, sent, taken, others] of cases) {
    assert.deepEqual(type.take(decode(encode(sent)), "it"), taken, type.text);
    assert.deepEqual(type.take(decode(encode(type.give(taken, "it"))), "it"), taken, type.text);
    for (const other of others) assert.throws(() => type.take(decode(encode(other)), "it"), /^Error: .*it/, `${type.text} ${String(other)}`);
  }
  assert.equal(order.text, "record { number: string, pieces: u32, note: option<string> }");
  assert.equal(record({ "a b": u32 }).text, 'record { "a b": u32 }');
  assert.equal(variant({ Sold: nothing, At: u32 }).text, "variant { Sold, At(u32) }");
});

const table = { get: ambrosia.query({}, ambrosia.any) };

test("a swap hands over all that the fields hold", () => {
  class Store {
    numbers = [1, 2.5, -0, NaN, 2n ** 70n];
    orders = new Map([["a", { pieces: 1, tags: new Set(["x"]) }]]);
    since = new Date(5);
    key = Uint8Array.of(1, 2);
    $odd = { $map: 1, nothing: undefined, __proto__: null };
    odd = [{ $map: [[1, 2]] }, { $set: 1 }, { $$set: 1 }];
    get() {
      return null;
    }
  }
  const old = new Harness(ambrosia.immortal(Store, table));
  const before = old.state;
  old.swap(ambrosia.immortal(Store, table));
  assert.notEqual(old.state, before);
  assert.deepEqual({ ...old.state, $odd: null }, { ...before, $odd: null });
  assert.deepEqual(Object.entries(old.state.$odd), Object.entries(before.$odd));
});

test("a swap that would lose something is refused, by name", () => {
  const of = (value, version, migrate) => {
    class Store {
      static version = version;
      static migrate = migrate;
      held = value;
      get() {
        return null;
      }
    }
    return ambrosia.immortal(Store, table);
  };
  class Own {}
  const shared = {};
  for (const [value, why] of [
    [new Own(), /this\.held is of the class Own/],
    [[() => 1], /this\.held\[0\] is a function/],
    [[shared, shared], /this\.held\[1\] is an object that is in the state in another place/],
  ]) {
    assert.throws(() => new Harness(of(value, 1)).swap(of(null, 1)), why);
  }
  assert.throws(() => new Harness(of(1, 3)).swap(of(1, 2)), /version 3, and Store of this module has version 2/);
  assert.throws(() => new Harness(of(1, 1)).swap(of(1, 2)), /no `static migrate`/);
  const migrated = new Harness(of(1, 1));
  migrated.swap(of(0, 2, ({ held }, version) => ({ held: held + version * 10 })));
  assert.equal(migrated.state.held, 11);
});

test("what can't be right is said when the component is built", () => {
  class Store {
    total = 1;
    total() {}
  }
  assert.throws(() => ambrosia.immortal(Store, { total: ambrosia.query() }), /Store.total is a field as well as a method/);
  assert.throws(() => ambrosia.immortal(Store, { sum: ambrosia.query() }), /no method sum/);
});

test("a query that changes the state fails its test, and nothing is handled after an exit", () => {
  class Store {
    asked = 0;
    get() {
      return ++this.asked;
    }
    stop() {
      ambrosia.exit(3);
    }
  }
  const harness = new Harness(ambrosia.immortal(Store, { ...table, stop: ambrosia.update() }));
  assert.throws(() => harness.ask("get"), /get is a query, and has changed the state/);
  harness.ask("stop");
  assert.equal(harness.exitCode, 3);
  assert.equal(harness.ask("stop"), undefined);
});
