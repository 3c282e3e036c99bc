// The component: the exports of wit/immortal.wit.

import "./host.js";
import app from "../src/app.js";

export const deliver = (runs) => app.deliver(runs);
export const describe = () => app.describe();
export const upgrade = {
  describe: () => app.describeState(),
  save: () => app.save(),
  load(saved) {
    const refusal = app.load(saved);
    if (refusal !== null) throw { tag: "unreadable", val: refusal };
    return new Uint8Array();
  },
};
