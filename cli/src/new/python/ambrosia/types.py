"""Annotations of Python as the types of wit/TYPES.md of Ambrosia: what tools show of them, and which values are of them.

`str`, `bool`, `float`, `bytes`, `None` and `Any` are what they look like; `int` is `s64`, and there are `u8` to `u64` and `s8` to `s64`;
`list[T]`, `set[T]`, `tuple[A, B]`, `dict[K, V]`, `T | None`, dataclasses, and enumerations whose values are texts.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Of whole numbers."""

    text: str
    min: int
    max: int


def whole(bits, signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return Bounds(f"{'s' if signed else 'u'}{bits}", low, high)


u8 = typing.Annotated[int, whole(8, False)]
u16 = typing.Annotated[int, whole(16, False)]
u32 = typing.Annotated[int, whole(32, False)]
u64 = typing.Annotated[int, whole(64, False)]
s8 = typing.Annotated[int, whole(8, True)]
s16 = typing.Annotated[int, whole(16, True)]
s32 = typing.Annotated[int, whole(32, True)]
s64 = typing.Annotated[int, whole(64, True)]


@dataclasses.dataclass(frozen=True)
class Type:
    """`take(value, where)` makes a value of what came, and `give` what goes of a value. Both raise if it is none of the type."""

    text: str
    take: Callable
    give: Callable
    is_optional: bool = False


def of(annotation, around=()):
    """The type that an annotation means. `around` has the dataclasses that it stands in."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    match annotation:
        case typing.Any:
            return Type("any", lambda value, where: value, lambda value, where: value)
        case None | types.NoneType:
            return plain("_", lambda value: value is None)
        case type() if annotation is int:
            return of(s64)
        case type() if annotation is float:
            return Type("f64", as_float, as_float)
        case type() if annotation is str:
            return plain("string", lambda value: type(value) is str)
        case type() if annotation is bool:
            return plain("bool", lambda value: type(value) is bool)
        case type() if annotation is bytes:
            return Type("list<u8>", as_bytes, as_bytes)
        case type() if issubclass(annotation, enum.Enum):
            return enumeration(annotation)
        case type() if dataclasses.is_dataclass(annotation):
            return record(annotation, around)
    if origin is typing.Annotated and isinstance(parts[1], Bounds):
        bounds = parts[1]
        return plain(bounds.text, lambda value: type(value) is int and bounds.min <= value <= bounds.max)
    if origin in (typing.Union, types.UnionType) and len(parts) == 2 and types.NoneType in parts:
        return option(of(parts[parts[0] is types.NoneType], around))
    if origin in (list, set) and len(parts) == 1:
        return listing(origin, of(parts[0], around))
    if origin is tuple and parts and Ellipsis not in parts:
        return tupled([of(part, around) for part in parts])
    if origin is dict and len(parts) == 2:
        return mapping(of(parts[0], around), of(parts[1], around))
    raise TypeError(f"{annotation!r} is no type of arguments, results or states: ambrosia/types.py says which ones are")


def refuse(value, text, where):
    raise TypeError(f"{where}: {value!r:.100} is no {text}")


def plain(text, fits):
    def checked(value, where):
        return value if fits(value) else refuse(value, text, where)

    return Type(text, checked, checked)


def as_float(value, where):
    return float(value) if type(value) in (int, float) else refuse(value, "f64", where)


def as_bytes(value, where):
    """An array of numbers is taken, too."""
    if not isinstance(value, bytes | bytearray | list):
        refuse(value, "list<u8>", where)
    try:
        return bytes(value)
    except (TypeError, ValueError):
        refuse(value, "list<u8>", where)


def enumeration(annotation):
    names = [one.value for one in annotation]
    text = f"enum {{ {', '.join(map(label, names))} }}"

    def take(value, where):
        return annotation(value) if value in names else refuse(value, text, where)

    def give(value, where):
        return value.value if isinstance(value, annotation) else refuse(value, text, where)

    return Type(text, take, give)


def option(inner):
    def each(way):
        return lambda value, where: None if value is None else way(value, where)

    return Type(f"option<{inner.text}>", each(inner.take), each(inner.give), is_optional=True)


def listing(origin, inner):
    text = f"list<{inner.text}>"

    def each(way, value, where):
        return [way(item, f"{where}[{index}]") for index, item in enumerate(value)]

    def take(value, where):
        return origin(each(inner.take, value, where)) if isinstance(value, list) else refuse(value, text, where)

    def give(value, where):
        given = each(inner.give, value, where) if isinstance(value, origin) else refuse(value, text, where)
        # The order of a set says nothing.
        return sorted(given, key=repr) if origin is set else given

    return Type(text, take, give)


def tupled(inner):
    text = f"tuple<{', '.join(one.text for one in inner)}>"

    def each(way, value, where):
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            refuse(value, text, where)
        return [getattr(one, way)(item, f"{where}[{index}]") for index, (one, item) in enumerate(zip(inner, value))]

    return Type(text, lambda value, where: tuple(each("take", value, where)), lambda value, where: each("give", value, where))


def mapping(key, inner):
    text = f"map<{key.text}, {inner.text}>"

    def each(way, value, where):
        if not isinstance(value, dict):
            refuse(value, text, where)
        key_way, inner_way = getattr(key, way), getattr(inner, way)
        return {key_way(k, f"a key of {where}"): inner_way(v, f"{where}[{k!r}]") for k, v in value.items()}

    return Type(text, lambda value, where: each("take", value, where), lambda value, where: each("give", value, where))


def record(annotation, around):
    """A dataclass. Fields that did not come have their default, and others that came are left out."""
    if annotation in around:
        raise TypeError(f"{annotation.__name__} is within itself, which has no type here: use Any, or numbers that stand for them")
    hints = typing.get_type_hints(annotation, include_extras=True)
    fields = {field.name: of(hints[field.name], (*around, annotation)) for field in dataclasses.fields(annotation)}
    text = f"record {{ {', '.join(f'{label(name)}: {inner.text}' for name, inner in fields.items())} }}"
    missing = dataclasses.MISSING
    defaults = {
        field.name for field in dataclasses.fields(annotation) if (field.default, field.default_factory) != (missing, missing)
    }

    def take(value, where):
        if not isinstance(value, dict):
            refuse(value, text, where)
        taken = {}
        for name, inner in fields.items():
            if name in value:
                taken[name] = inner.take(value[name], f"{where}.{name}")
            elif inner.is_optional and name not in defaults:
                taken[name] = None
            elif name not in defaults:
                raise TypeError(f"{where}: the field {name} is missing")
        return annotation(**taken)

    def give(value, where):
        if not isinstance(value, annotation):
            refuse(value, text, where)
        return {name: inner.give(getattr(value, name), f"{where}.{name}") for name, inner in fields.items()}

    return Type(text, take, give)


def label(name):
    is_plain = name.isascii() and name.replace("-", "_").isidentifier() and not name.startswith("-")
    return name if is_plain else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
