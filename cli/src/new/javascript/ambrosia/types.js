// Types of arguments and results, as wit/TYPES.md of Ambrosia has them: each has its text, which tools show, and a check.
//
// `take` makes the value that a method gets of the one that came, and `give` the one that goes of what a method returned. Both
// throw if it is none of the type.

function plain(text, fits, take = (value) => value) {
  const checked = (value, where) => {
    if (fits(value)) return value;
    if (typeof value === "bigint") throw new Error(`${where}: ${value} is more than a number of JavaScript holds exactly`);
    throw new Error(`${where}: ${shown(value)} is no ${text}`);
  };
  return { text, take: (value, where) => take(checked(value, where)), give: checked };
}

function whole(text, min, max) {
  return plain(text, (value) => Number.isSafeInteger(value) && value >= min && value <= max);
}

export const any = { text: "any", take: (value) => value, give: (value) => value };
export const nothing = plain("_", (value) => value === null || value === undefined);
export const bool = plain("bool", (value) => typeof value === "boolean");
export const string = plain("string", (value) => typeof value === "string");
export const bytes = plain("list<u8>", isBytes, (value) => Uint8Array.from(value));
export const u8 = whole("u8", 0, 0xff);
export const u16 = whole("u16", 0, 0xffff);
export const u32 = whole("u32", 0, 0xffffffff);
export const s8 = whole("s8", -0x80, 0x7f);
export const s16 = whole("s16", -0x8000, 0x7fff);
export const s32 = whole("s32", -0x80000000, 0x7fffffff);
// Only those that a number of JavaScript holds exactly, which are all up to 2^53.
export const u64 = whole("u64", 0, Number.MAX_SAFE_INTEGER);
export const s64 = whole("s64", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
export const f64 = plain("f64", (value) => typeof value === "number" || typeof value === "bigint", Number);

function isBytes(value) {
  return value instanceof Uint8Array || (Array.isArray(value) && value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte < 256));
}

// `null` stands for nothing.
export function option(of) {
  const each = (way) => (value, where) => (value === null || value === undefined ? null : of[way](value, where));
  return { text: `option<${of.text}>`, take: each("take"), give: each("give"), isOptional: true };
}

export function list(of) {
  const text = `list<${of.text}>`;
  const each = (way) => (value, where) => {
    if (!Array.isArray(value)) throw new Error(`${where}: ${shown(value)} is no ${text}`);
    return value.map((item, index) => of[way](item, `${where}[${index}]`));
  };
  return { text, take: each("take"), give: each("give") };
}

export function tuple(...of) {
  const text = `tuple<${of.map((one) => one.text).join(", ")}>`;
  const each = (way) => (value, where) => {
    if (!Array.isArray(value) || value.length !== of.length) throw new Error(`${where}: ${shown(value)} is no ${text}`);
    return of.map((one, index) => one[way](value[index], `${where}[${index}]`));
  };
  return { text, take: each("take"), give: each("give") };
}

// A Map; an object is taken, too.
export function map(key, of) {
  const text = `map<${key.text}, ${of.text}>`;
  const each = (way) => (value, where) => {
    if (!(value instanceof Map) && !isObject(value)) throw new Error(`${where}: ${shown(value)} is no ${text}`);
    const entries = value instanceof Map ? [...value] : Object.entries(value);
    return new Map(entries.map(([k, v]) => [key[way](k, `a key of ${where}`), of[way](v, `${where}[${shown(k)}]`)]));
  };
  return { text, take: each("take"), give: each("give") };
}

// An object with those fields; others that came are left out.
export function record(fields) {
  const all = Object.entries(fields);
  const text = `record { ${all.map(([name, of]) => `${label(name)}: ${of.text}`).join(", ")} }`;
  const each = (way) => (value, where) => {
    if (!isObject(value)) throw new Error(`${where}: ${shown(value)} is no ${text}`);
    const field = ([name, of]) => {
      if (!Object.hasOwn(value, name) && !of.isOptional) throw new Error(`${where}: the field ${name} is missing`);
      return [name, of[way](Object.hasOwn(value, name) ? value[name] : null, `${where}.${name}`)];
    };
    return Object.fromEntries(all.map(field));
  };
  return { text, take: each("take"), give: each("give") };
}

// One of those texts.
export function choice(...texts) {
  return { ...plain(`enum { ${texts.map(label).join(", ")} }`, (value) => texts.includes(value)) };
}

// `{ Ok: … }` or `{ Err: … }`.
export function result(ok, error) {
  return variant({ Ok: ok, Err: error }, `result<${ok.text}, ${error.text}>`);
}

// An object whose one field is one of those; a case of the type `nothing` is its name as a text.
export function variant(cases, name) {
  const held = ([label_, of]) => (of === nothing ? label(label_) : `${label(label_)}(${of.text})`);
  const text = name ?? `variant { ${Object.entries(cases).map(held).join(", ")} }`;
  const each = (way) => (value, where) => {
    if (typeof value === "string" && Object.hasOwn(cases, value) && cases[value] === nothing) return value;
    const [entry, ...more] = isObject(value) ? Object.entries(value) : [];
    if (entry === undefined || more.length > 0 || !Object.hasOwn(cases, entry[0])) {
      throw new Error(`${where}: ${shown(value)} is no ${text}`);
    }
    return { [entry[0]]: cases[entry[0]][way](entry[1], `${where}.${entry[0]}`) };
  };
  return { text, take: each("take"), give: each("give") };
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Map) && !(value instanceof Uint8Array);
}

function label(name) {
  return /^[A-Za-z_][A-Za-z0-9_-]*$/.test(name) ? name : JSON.stringify(name);
}

// Short enough for an error.
function shown(value) {
  if (value === undefined) return "nothing";
  if (typeof value === "bigint") return `${value}`;
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
