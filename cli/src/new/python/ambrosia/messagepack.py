"""MessagePack, in which arguments, results and states travel."""

import struct

# Values are in one another at most so deep.
DEPTH_MAX = 256

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
    out = bytearray()
    write(out, value, 0)
    return bytes(out)


def write(out, value, depth):
    if depth > DEPTH_MAX:
        raise ValueError(f"values are in one another deeper than {DEPTH_MAX}")
    match value:
        case None:
            out.append(0xC0)
        case bool():
            out.append(0xC3 if value else 0xC2)
        case int():
            write_int(out, value)
        case float():
            out += struct.pack(">Bd", 0xCB, value)
        case str():
            text = value.encode()
            write_length(out, len(text), (0xA0, 32), (0xD9, 0xDA, 0xDB))
            out += text
        case bytes() | bytearray():
            write_length(out, len(value), (0, 0), (0xC4, 0xC5, 0xC6))
            out += value
        case list() | tuple():
            write_length(out, len(value), (0x90, 16), (None, 0xDC, 0xDD))
            for item in value:
                write(out, item, depth + 1)
        case dict():
            write_length(out, len(value), (0x80, 16), (None, 0xDE, 0xDF))
            for key, item in value.items():
                write(out, key, depth + 1)
                write(out, item, depth + 1)
        case _:
            raise TypeError(f"a {type(value).__name__} is no value that can be sent")


def write_int(out, value):
    """In the shortest form."""
    if -32 <= value < 128:
        out += struct.pack("b", value)
        return
    heads = (0xCC, 0xCD, 0xCE, 0xCF) if value >= 0 else (0xD0, 0xD1, 0xD2, 0xD3)
    for head in heads:
        try:
            out += struct.pack(">B" + NUMBERS[head][1], head, value)
            return
        except struct.error:
            continue
    raise ValueError(f"{value} has more than 64 bits")


def write_length(out, count, short, wide):
    """`short` has the first byte and the bound of short lengths, `wide` the first bytes of those of 1, 2 and 4 bytes."""
    head, short_max = short
    if count < short_max:
        out.append(head | count)
    elif count < 1 << 8 and wide[0] is not None:
        out += struct.pack(">BB", wide[0], count)
    elif count < 1 << 16:
        out += struct.pack(">BH", wide[1], count)
    else:
        out += struct.pack(">BI", wide[2], count)


def decode(data):
    value, end = read(data, 0, 0)
    if end != len(data):
        raise ValueError("there are bytes behind the value")
    return value


def read(data, at, depth):
    """The value at `at`, and where the next one begins."""
    if depth > DEPTH_MAX:
        raise ValueError(f"values are in one another deeper than {DEPTH_MAX}")
    if at >= len(data):
        raise ValueError("the value is cut off")
    head = data[at]
    at += 1
    if head < 0x80:
        return head, at
    if head >= 0xE0:
        return head - 0x100, at
    if head in NAMES:
        return NAMES[head], at
    if head in NUMBERS:
        return unpacked(NUMBERS[head], data, at)
    if head < 0x90:
        kind, count = "map", head & 0x0F
    elif head < 0xA0:
        kind, count = "array", head & 0x0F
    elif head < 0xC0:
        kind, count = "text", head & 0x1F
    elif head in LENGTHS:
        form, kind = LENGTHS[head]
        count, at = unpacked(form, data, at)
    else:
        raise ValueError(f"MessagePack of the type {head:#x} is not understood")
    return READERS[kind](data, at, count, depth + 1)


def unpacked(form, data, at):
    end = at + struct.calcsize(form)
    if end > len(data):
        raise ValueError("the value is cut off")
    return struct.unpack_from(form, data, at)[0], end


def read_bytes(data, at, count, _depth):
    if at + count > len(data):
        raise ValueError("the value is cut off")
    return bytes(data[at : at + count]), at + count


def read_text(data, at, count, depth):
    text, at = read_bytes(data, at, count, depth)
    return text.decode(), at


def read_array(data, at, count, depth):
    values = []
    for _ in range(count):
        value, at = read(data, at, depth)
        values.append(value)
    return values, at


def read_map(data, at, count, depth):
    values = {}
    for _ in range(count):
        key, at = read(data, at, depth)
        if isinstance(key, list | dict):
            raise ValueError("a list or a map is the key of a map")
        values[key], at = read(data, at, depth)
    return values, at


READERS = {"bytes": read_bytes, "text": read_text, "array": read_array, "map": read_map}
