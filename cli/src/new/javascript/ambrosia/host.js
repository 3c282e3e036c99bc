// What the host offers, and what of JavaScript QuickJS lacks. Only a component has this; tests have `testing.js`.

import host from "ambrosia:runtime/host@0.2.0";
import stderr from "wasi:cli/stderr@0.2.0";
import stdout from "wasi:cli/stdout@0.2.0";
import { world } from "./index.js";
import { utf8 } from "./utf8.js";

Object.assign(world, host);

// That of QuickJS goes on from what it was when the component was built, alike in all instances.
Math.random = () => {
  const bytes = new DataView(Uint8Array.from(host.randomBytes(8)).buffer);
  return (bytes.getUint32(0) * 2 ** 21 + (bytes.getUint32(4) >>> 11)) / 2 ** 53;
};

const line = (open) => (...values) => {
  const stream = open();
  stream.blockingWriteAndFlush(utf8(`${values.map(shown).join(" ")}\n`));
  stream[Symbol.dispose]();
};
const [out, err] = [line(stdout.getStdout), line(stderr.getStderr)];
globalThis.console = { log: out, info: out, debug: out, warn: err, error: err };

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return String(value);
  return JSON.stringify(value, (_key, one) => (typeof one === "bigint" ? String(one) : one)) ?? String(value);
}
