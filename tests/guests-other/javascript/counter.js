// A running total, told to whoever asks. Its state is this module's variables: nothing is saved or loaded.

import { immortal, print } from "./immortal.js";

let total = 0;
const noted = [];

export const { deliver, describe } = immortal({
  first: () => print("counting in JavaScript"),
  primary: () => print(`at ${total}`),
  methods: {
    add: {
      arguments: ["n"],
      run: (n) => {
        if (!Number.isSafeInteger(n)) throw new Error(`${n} is no whole number`);
        total += n;
        print(`total ${total}`);
        return total;
      },
    },
    total: { arguments: [], run: () => total },
    note: { arguments: ["text"], run: (text) => noted.push(text) },
    noted: { arguments: [], run: () => noted },
    // What every replica must see alike.
    luck: { arguments: [], run: () => [Date.now(), Math.floor(Math.random() * 2 ** 31)] },
  },
});
