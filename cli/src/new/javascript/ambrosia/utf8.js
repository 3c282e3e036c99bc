// Texts as bytes, and back. QuickJS has no TextEncoder.

export function utf8(text) {
  const bytes = [];
  for (const character of text) {
    let code = character.codePointAt(0);
    // Half of a pair, which no other program takes for a text.
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), tail(code));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), tail(code >> 6), tail(code));
    else bytes.push(0xf0 | (code >> 18), tail(code >> 12), tail(code >> 6), tail(code));
  }
  return Uint8Array.from(bytes);
}

export function text(bytes) {
  const escaped = Array.from(bytes, (byte) => `%${byte.toString(16).padStart(2, "0")}`);
  try {
    return decodeURIComponent(escaped.join(""));
  } catch {
    throw new Error("a text is not UTF-8");
  }
}

function tail(code) {
  return 0x80 | (code & 0x3f);
}
