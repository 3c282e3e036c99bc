// An immortal: its state survives the death of any process, and each request is handled once.

import { immortal, query, u64, update } from "../ambrosia/index.js";

class Counter {
  // What it remembers.
  sum = 0;

  add(n) {
    this.sum += n;
    console.log(`the total is ${this.sum}`);
    return this.sum;
  }

  total() {
    return this.sum;
  }
}

export default immortal(Counter, {
  add: update({ n: u64 }, u64, "Adds to the total, and returns it."),
  total: query({}, u64, "Returns the total."),
});
