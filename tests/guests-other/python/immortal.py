"""What makes an object of handlers an immortal: wit/LAYOUT.md in Python."""

import inspect
import struct
import sys

import messagepack
from wit_world import WitWorld
from wit_world.imports.description import Method

RUN = struct.Struct("<IIQII")
MESSAGE = struct.Struct("<IIQB3x")
EFFECT = struct.Struct("<II")
FORK, CALL, REPLY, ERROR, IMPULSE, START, PRIMARY = 1, 2, 3, 4, 5, 7, 8


def exports(immortal, names):
    """The class that exports `immortal`, whose methods of those names are handlers.

    Its method `on_first_start` runs once in its life, `on_becoming_primary` whenever a replica becomes primary. What a
    handler raises is the error that the caller gets.
    """
    handlers = {method_id(name): getattr(immortal, name) for name in names}

    class Exports(WitWorld):
        def deliver(self, runs):
            effects = bytearray()
            for cause, (peer, message) in enumerate(messages(runs)):
                handle(immortal, handlers, cause, peer, message, effects)
            return bytes(effects)

        def describe(self):
            def described(name):
                arguments = list(inspect.signature(getattr(immortal, name)).parameters)
                return Method(method_id(name), name, arguments, True)

            return [described(name) for name in names]

    return Exports


def handle(immortal, handlers, cause, peer, message, effects):
    kind, method, call_id, arguments = message
    if kind == START:
        immortal.on_first_start()
    elif kind == PRIMARY:
        immortal.on_becoming_primary()
    elif kind in (FORK, CALL, IMPULSE):
        try:
            if method not in handlers:
                raise LookupError(f"there is no method with the id {method}")
            answer = REPLY, messagepack.encode(handlers[method](*messagepack.decode(arguments)))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            answer = ERROR, messagepack.encode(reason)
            if call_id == 0:
                print(f"not done: {reason}", file=sys.stderr)
        if call_id != 0:
            kind, value = answer
            effects += EFFECT.pack(cause, peer) + MESSAGE.pack(len(value), 0, call_id, kind) + value


def messages(runs):
    """All messages of all runs, each with its peer."""
    at = 0
    while at < len(runs):
        peer, _count, _first_seq, length, _instance = RUN.unpack_from(runs, at)
        at += RUN.size
        end = at + length
        while at < end:
            length, method, call_id, kind = MESSAGE.unpack_from(runs, at)
            at += MESSAGE.size
            yield peer, (kind, method, call_id, runs[at : at + length])
            at += length


def method_id(name):
    """FNV-1a."""
    hash = 0x811C9DC5
    for byte in name.encode():
        hash = (hash ^ byte) * 0x01000193 & 0xFFFFFFFF
    return hash
