import assert from "node:assert/strict";
import { test } from "node:test";

import { Harness } from "../ambrosia/testing.js";
import app from "../src/app.js";

test("what was added is remembered", () => {
  const counter = new Harness(app);
  assert.equal(counter.ask("add", 2), 2);
  assert.equal(counter.ask("add", 3), 5);
  counter.takeOver();
  assert.equal(counter.ask("total"), 5);
});

test("an argument of another type is refused, and nothing is added", () => {
  const counter = new Harness(app);
  assert.throws(() => counter.ask("add", "much"), /n: "much" is no u64/);
  assert.equal(counter.ask("total"), 0);
});
