"""Tests without a host: messages go in and effects come out as bytes, as in a component."""

import dataclasses

import ambrosia
from ambrosia import Guest, layout, messagepack


class HandlerError(Exception):
    """What a handler has raised, as the one who asked gets it."""


@dataclasses.dataclass
class Time:
    seconds: int
    nanoseconds: int


class Harness:
    """An instance of an immortal that has just begun."""

    def __init__(self, cls, name="test"):
        self.name = name
        # The time, in nanoseconds since 1970.
        self.time_ns = 0
        # What was forked: instance, id of the method and arguments of each; what was emitted: topic and value; and the exit.
        self.forks = []
        self.events = []
        self.exit_code = None
        self.peers = []
        self.guest = Guest(cls)
        self._deliver(layout.message(layout.START), layout.message(layout.PRIMARY))

    @property
    def state(self):
        return self.guest.instance

    def ask(self, method, *values):
        """Runs a method, and returns its result."""
        data = messagepack.encode(values)
        impulse = layout.message(layout.IMPULSE, layout.method_id(method), 1, data)
        is_query = getattr(self.guest.cls.ambrosia_methods.get(method), "is_query", False)
        before = self.guest.save() if is_query else None
        answer = self._deliver(impulse)
        if is_query and self.guest.save() != before:
            raise AssertionError(f"{method} is a query, and has changed the state")
        # An instance that has finished answers nothing.
        if answer is None:
            return None
        kind, value = answer
        if kind == layout.ERROR:
            raise HandlerError(messagepack.decode(value))
        return messagepack.decode(value)

    def take_over(self):
        """Goes on as another replica does that takes over."""
        self._deliver(layout.message(layout.PRIMARY))

    def swap(self, cls):
        """Goes on as other code, as `upgrade` and `up --watch` have it."""
        new = Guest(cls)
        new.load(self.guest.version, self.guest.save())
        self.guest = new

    def _deliver(self, *messages):
        ambrosia.world = self
        data = b"".join(messages)
        answer = None
        for target, kind, method, _call_id, value in layout.effects(
            self.guest.deliver(layout.RUN.pack(0, len(messages), 0, len(data), 0) + data)
        ):
            match kind:
                case layout.REPLY | layout.ERROR:
                    answer = kind, value
                case layout.FORK:
                    self.forks.append((self.peers[target - 1], method, messagepack.decode(value)))
                case layout.EXIT:
                    self.exit_code = int.from_bytes(value, "little", signed=True)
                case layout.EMIT:
                    end = 2 + int.from_bytes(value[:2], "little")
                    self.events.append((value[2:end].decode(), messagepack.decode(value[end:])))
        return answer

    # What a host offers.

    def instance_name(self):
        return self.name

    def now(self):
        return Time(*divmod(self.time_ns, 1_000_000_000))

    def attach(self, name):
        if name not in self.peers:
            self.peers.append(name)
        return self.peers.index(name) + 1
