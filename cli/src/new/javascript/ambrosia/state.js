// The state of an immortal as a value that another build of its code can read: all fields of its object.
//
// What MessagePack has no word for is an object with one key that begins with `$`; keys of one's own that do so get another `$`.

export class CannotBeSaved extends Error {}

export function saved(object) {
  const seen = new Set([object]);
  return entriesOf(object, "this", seen);
}

export function revived(value) {
  if (Array.isArray(value)) return value.map(revived);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  const entries = Object.entries(value);
  const [key, held] = entries.length === 1 ? entries[0] : [];
  switch (key) {
    case "$undefined": return undefined;
    case "$bigint": return BigInt(held);
    case "$date": return new Date(held);
    case "$map": return new Map(held.map(([k, v]) => [revived(k), revived(v)]));
    case "$set": return new Set(held.map(revived));
  }
  return Object.fromEntries(entries.map(([name, item]) => [name.startsWith("$$") ? name.slice(1) : name, revived(item)]));
}

function savedValue(value, where, seen) {
  switch (typeof value) {
    case "undefined": return { $undefined: true };
    case "bigint": return { $bigint: String(value) };
    case "function":
    case "symbol": throw new CannotBeSaved(`${where} is a ${typeof value}`);
    case "object": return value === null ? null : savedObject(value, where, seen);
    default: return value;
  }
}

function savedObject(value, where, seen) {
  if (seen.has(value)) throw new CannotBeSaved(`${where} is an object that is in the state in another place, too`);
  seen.add(value);
  const item = (one, index) => savedValue(one, `${where}[${index}]`, seen);
  if (Array.isArray(value)) return Array.from(value, item);
  switch (Object.getPrototypeOf(value)) {
    case Uint8Array.prototype: return value;
    case Date.prototype: return { $date: value.getTime() };
    case Set.prototype: return { $set: Array.from(value, item) };
    case Map.prototype: return { $map: Array.from(value, ([k, v], index) => [item(k, index), item(v, index)]) };
    case Object.prototype:
    case null: return entriesOf(value, where, seen);
    default: throw new CannotBeSaved(`${where} is of the class ${value.constructor?.name ?? "?"}`);
  }
}

function entriesOf(object, where, seen) {
  const entry = ([name, value]) => [name.startsWith("$") ? `$${name}` : name, savedValue(value, `${where}.${name}`, seen)];
  return Object.fromEntries(Object.entries(object).map(entry));
}
