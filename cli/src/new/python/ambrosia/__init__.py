"""What makes a class an immortal. This package is a thin SDK for Python: wit/immortal.wit, LAYOUT.md and TYPES.md of Ambrosia in a
few hundred lines, which you may change.

A handler runs once for each message, and one after the other. What it raises is the error of whoever asked; what it had changed until
then stays. State is what is in the annotated fields of the object: not in variables of modules, which a swap of the code does not see.
"""

import dataclasses
import inspect
import sys
import typing

from . import layout, messagepack
from .layout import OUTSIDE
from .types import Type, of, s8, s16, s32, s64, u8, u16, u32, u64

__all__ = [
    "emit", "exit", "fork", "immortal", "instance_name", "now_ns", "query", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64",
]

HOOKS = ("on_first_start", "on_becoming_primary")
TOPIC_BYTES_MAX = 256

# What the host offers; `component.py` and `testing.py` set it.
world = None
# The classes that are immortals; a component is made of one.
declared = []
# The delivery that is being handled.
delivery = None


def immortal(cls):
    """Makes a class an immortal: annotated fields are its state, and have defaults; methods whose names do not begin with `_` are handlers.

    `on_first_start` runs once in the life of an instance, `on_becoming_primary` whenever a replica becomes primary. Where fields change
    their meaning, `VERSION: ClassVar[int]` rises, and the static method `migrate(fields, version)` makes a dict of the fields of today of
    that of an earlier version, which is 1 at first.
    """
    for name in typing.get_type_hints(cls):
        if inspect.isfunction(inspect.getattr_static(cls, name, None)):
            raise TypeError(f"{cls.__name__}.{name} is a field as well as a method")
    # With slots, a field that is not annotated is an error at once, and not lost by a swap.
    cls = dataclasses.dataclass(slots=True)(cls)
    for field in dataclasses.fields(cls):
        if (field.default, field.default_factory) == (dataclasses.MISSING, dataclasses.MISSING):
            raise TypeError(f"{cls.__name__}.{field.name} has no default, which it has in an instance that begins")
    cls.ambrosia_methods = {name: Method(cls, name, function) for name, function in handlers(cls)}
    cls.ambrosia_state = of(cls)
    declared.append(cls)
    return cls


def handlers(cls):
    """Those of the classes that it is derived from come first."""
    functions = {}
    for base in reversed(cls.__mro__):
        functions |= {name: one for name, one in vars(base).items() if inspect.isfunction(one)}
    return [(name, one) for name, one in functions.items() if not name.startswith("_") and name not in HOOKS]


def query(method):
    """A method that changes and sends nothing: it is asked without a record in the log, on any replica. What it changes is thrown away."""
    method.is_query = True
    return method


def instance_name():
    """The name under which this instance is registered."""
    return world.instance_name()


def now_ns():
    """The time of the record that is handled, in nanoseconds since 1970; it does not move meanwhile. `time.time_ns()` is the same."""
    time = world.now()
    return time.seconds * 1_000_000_000 + time.nanoseconds


def fork(instance, method, *values):
    """Has the instance of that name run `method`, exactly once and in order. Nothing comes back."""
    peer = world.attach(instance)
    if peer == 0:
        raise ValueError(f"no instance can have the name {instance}, or this one knows as many as it can")
    push(peer, layout.message(layout.FORK, layout.method_id(method), 0, messagepack.encode(values)))


def emit(topic, value):
    """Tells whoever listens outside (`GET /v1/INSTANCE/events`)."""
    name = topic.encode()
    if len(name) > TOPIC_BYTES_MAX:
        raise ValueError(f"the topic has {len(name)} bytes, of at most {TOPIC_BYTES_MAX}")
    data = len(name).to_bytes(2, "little") + name + messagepack.encode(value)
    push(OUTSIDE, layout.message(layout.EMIT, data=data))


def exit(code):
    """Finishes the instance: every replica ends with that code, and nothing more is handled."""
    push(OUTSIDE, layout.message(layout.EXIT, data=code.to_bytes(4, "little", signed=True)))
    delivery.exits = True


@dataclasses.dataclass
class Delivery:
    cause: int = 0
    effects: bytearray = dataclasses.field(default_factory=bytearray)
    exits: bool = False


def push(target, message):
    if delivery is None:
        raise RuntimeError("this can be done while a message is handled, and at no other time")
    delivery.effects += layout.EFFECT.pack(delivery.cause, target) + message


class Method:
    """A handler: what it is called, takes and gives."""

    def __init__(self, cls, name, function):
        where = f"{cls.__name__}.{name}"
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{where} is async, and nothing here can be awaited")
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
                raise TypeError(f"{where}: {parameter.name} is no plain argument, such as `n: int`")
        try:
            self.takes: dict[str, Type] = {one.name: of(hints.get(one.name, typing.Any)) for one in parameters}
            self.gives: Type = of(hints.get("return", typing.Any))
        except TypeError as error:
            raise TypeError(f"{where}: {error}") from None
        self.name = name
        self.is_query = getattr(function, "is_query", False)
        self.docs = inspect.getdoc(function) or ""

    def run(self, instance, data):
        values = messagepack.decode(data)
        if not isinstance(values, list) or len(values) != len(self.takes):
            takes = ", ".join(f"{name}: {one.text}" for name, one in self.takes.items())
            raise TypeError(f"the arguments of {self.name} are ({takes})")
        taken = [one.take(value, name) for value, (name, one) in zip(values, self.takes.items())]
        return messagepack.encode(self.gives.give(getattr(instance, self.name)(*taken), f"the result of {self.name}"))


class Guest:
    """One instance of an immortal, as the host has it."""

    def __init__(self, cls):
        self.cls = cls
        self.methods = {layout.method_id(name): method for name, method in cls.ambrosia_methods.items()}
        self.version = getattr(cls, "VERSION", 1)
        self.instance = cls()
        self.exited = False

    def deliver(self, runs):
        """Handles the runs of one record, and gives the effects."""
        global delivery
        delivery = Delivery(exits=self.exited)
        for cause, (peer, kind, method, call_id, data) in enumerate(layout.messages(runs)):
            delivery.cause = cause
            if not delivery.exits:
                self.handle(peer, kind, method, call_id, data)
        effects, self.exited, delivery = delivery.effects, delivery.exits, None
        return bytes(effects)

    def handle(self, peer, kind, method, call_id, data):
        match kind:
            case layout.START:
                getattr(self.instance, "on_first_start", int)()
            case layout.PRIMARY:
                getattr(self.instance, "on_becoming_primary", int)()
            case layout.FORK | layout.CALL | layout.IMPULSE:
                self.answer(peer, method, call_id, data)
            case _:
                raise RuntimeError(f"a message of kind {kind} can't be delivered: nothing here waits for it")

    def answer(self, peer, method, call_id, data):
        try:
            if method not in self.methods:
                raise LookupError(f"there is no method with the id {method}")
            kind, value = layout.REPLY, self.methods[method].run(self.instance, data)
        except Exception as error:
            kind, value = layout.ERROR, messagepack.encode(f"{type(error).__name__}: {error}")
            if call_id == 0:
                print(f"not done: {type(error).__name__}: {error}", file=sys.stderr)
        if call_id != 0:
            push(peer, layout.message(kind, 0, call_id, value))

    def save(self):
        """The state, for another build of the code."""
        return messagepack.encode(self.cls.ambrosia_state.give(self.instance, self.cls.__name__))

    def load(self, version, state):
        """Takes the state of another build. Raises ValueError, with the reason, if it does not."""
        name = self.cls.__name__
        if version > self.version:
            raise ValueError(f"the state has version {version}, and {name} of this module has version {self.version}")
        fields = messagepack.decode(state)
        if version < self.version:
            if not hasattr(self.cls, "migrate"):
                raise ValueError(f"the state has version {version}, and {name} of this module has version {self.version} and no `migrate`")
            fields = self.cls.migrate(fields, version)
        try:
            self.instance = self.cls.ambrosia_state.take(fields, name)
        except TypeError as error:
            raise ValueError(f"the state of version {version} can't be taken: {error}") from None
