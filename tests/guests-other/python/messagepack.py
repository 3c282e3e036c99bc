"""The part of MessagePack that JSON has too, and bytes."""

import struct

# The first byte of fixed length, and what follows it.
NUMBERS = {
    0xCA: ">f", 0xCB: ">d",
    0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}
LENGTHS = {
    0xC4: (">B", "bytes"), 0xC5: (">H", "bytes"), 0xC6: (">I", "bytes"),
    0xD9: (">B", "text"), 0xDA: (">H", "text"), 0xDB: (">I", "text"),
    0xDC: (">H", "array"), 0xDD: (">I", "array"),
    0xDE: (">H", "map"), 0xDF: (">I", "map"),
}
NAMES = {0xC0: None, 0xC2: False, 0xC3: True}


def encode(value):
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int() if -32 <= value < 128:
            return struct.pack("b", value)
        case int() if value < 1 << 63:
            return struct.pack(">Bq", 0xD3, value)
        case int():
            return struct.pack(">BQ", 0xCF, value)
        case float():
            return struct.pack(">Bd", 0xCB, value)
        case str():
            text = value.encode()
            return length(len(text), 0xA0, 32, 0xDA) + text
        case bytes():
            return struct.pack(">BI", 0xC6, len(value)) + value
        case list() | tuple():
            return length(len(value), 0x90, 16, 0xDC) + b"".join(map(encode, value))
        case dict():
            items = (encode(key) + encode(item) for key, item in value.items())
            return length(len(value), 0x80, 16, 0xDE) + b"".join(items)
        case _:
            raise TypeError(f"a {type(value).__name__} can't be sent")


def length(count, short, short_max, wide):
    if count < short_max:
        return bytes([short | count])
    if count < 1 << 16:
        return struct.pack(">BH", wide, count)
    return struct.pack(">BI", wide + 1, count)


def decode(data):
    value, end = read(data, 0)
    if end != len(data):
        raise ValueError("there are bytes behind the value")
    return value


def read(data, at):
    """The value at `at`, and where the next one begins."""
    head = data[at]
    at += 1
    if head < 0x80:
        return head, at
    if head >= 0xE0:
        return head - 0x100, at
    if head in NAMES:
        return NAMES[head], at
    if head in NUMBERS:
        form = NUMBERS[head]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if head < 0x90:
        kind, count = "map", head & 0x0F
    elif head < 0xA0:
        kind, count = "array", head & 0x0F
    elif head < 0xC0:
        kind, count = "text", head & 0x1F
    elif head in LENGTHS:
        form, kind = LENGTHS[head]
        (count,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
    else:
        raise ValueError(f"MessagePack of the type {head:#x} is not understood")
    return READERS[kind](data, at, count)


def read_bytes(data, at, count):
    if at + count > len(data):
        raise ValueError("the value is cut off")
    return bytes(data[at : at + count]), at + count


def read_text(data, at, count):
    text, at = read_bytes(data, at, count)
    return text.decode(), at


def read_array(data, at, count):
    values = []
    for _ in range(count):
        value, at = read(data, at)
        values.append(value)
    return values, at


def read_map(data, at, count):
    values = {}
    for _ in range(count):
        key, at = read(data, at)
        values[key], at = read(data, at)
    return values, at


READERS = {"bytes": read_bytes, "text": read_text, "array": read_array, "map": read_map}
