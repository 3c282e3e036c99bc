"""Messages, runs and effects as bytes: wit/LAYOUT.md of Ambrosia."""

import struct

RUN = struct.Struct("<IIQII")
MESSAGE = struct.Struct("<IIQB3x")
EFFECT = struct.Struct("<II")

FORK, CALL, REPLY, ERROR, IMPULSE, START, PRIMARY, EXIT, EMIT = 1, 2, 3, 4, 5, 7, 8, 9, 18
OUTSIDE = 0


def message(kind, method=0, call_id=0, data=b""):
    return MESSAGE.pack(len(data), method, call_id, kind) + data


def messages(runs):
    """All messages of all runs: peer, kind, method, call id and arguments of each."""
    at = 0
    while at < len(runs):
        peer, _count, _first_seq, length, _instance = RUN.unpack_from(runs, at)
        at += RUN.size
        end = at + length
        while at < end:
            length, method, call_id, kind = MESSAGE.unpack_from(runs, at)
            at += MESSAGE.size
            yield peer, kind, method, call_id, runs[at : at + length]
            at += length


def effects(data):
    """Target, kind, method, call id and bytes of each effect."""
    at = 0
    while at < len(data):
        _cause, target = EFFECT.unpack_from(data, at)
        length, method, call_id, kind = MESSAGE.unpack_from(data, at + EFFECT.size)
        at += EFFECT.size + MESSAGE.size
        yield target, kind, method, call_id, data[at : at + length]
        at += length


def method_id(name):
    """FNV-1a."""
    hash = 0x811C9DC5
    for byte in name.encode():
        hash = (hash ^ byte) * 0x01000193 & 0xFFFFFFFF
    return hash
