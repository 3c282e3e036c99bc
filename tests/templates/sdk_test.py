"""The SDK of projects in Python, run in such a project: `tests/integration/new_languages.rs` does so. AMBROSIA_WIT is the folder `wit` of
the repository, whose golden files hold the SDKs of all languages."""

import dataclasses
import enum
import os
import pathlib
import unittest
from typing import Any, ClassVar

import ambrosia
from ambrosia import Guest, layout, messagepack, types
from ambrosia.testing import HandlerError, Harness


def golden(name):
    return (pathlib.Path(os.environ["AMBROSIA_WIT"]) / "golden" / name).read_bytes()


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclasses.dataclass
class Order:
    number: str
    pieces: ambrosia.u32
    note: str | None
    tags: list[str] = dataclasses.field(default_factory=list)


class Values(unittest.TestCase):
    def test_they_are_encoded_as_the_golden_file_has_them(self):
        rows = [row.split("\t") for row in golden("values.tsv").decode().splitlines()]
        self.assertGreater(len(rows), 20)
        for kind, json, data in rows:
            self.assertEqual(messagepack.encode(messagepack.decode(bytes.fromhex(data))).hex(), data, f"{kind} {json}")

    def test_what_is_cut_off_goes_on_or_is_too_deep_is_refused(self):
        for value in [[1, "two", {"three": 3.5}], "x" * 70_000, bytes(300), [-129, 40_000, -40_000, 1 << 40], {7: True}]:
            data = messagepack.encode(value)
            self.assertEqual(messagepack.decode(data), value)
            for length in (0, 1, len(data) - 1):
                self.assertRaisesRegex(ValueError, "cut off", messagepack.decode, data[:length])
            self.assertRaisesRegex(ValueError, "behind the value", messagepack.decode, data + b"\0")
        self.assertRaisesRegex(ValueError, "deeper than 256", messagepack.decode, b"\x91" * 100_000)
        self.assertRaises(ValueError, messagepack.decode, b"\xa1\xff")
        self.assertRaisesRegex(ValueError, "key of a map", messagepack.decode, b"\x81\x90\x01")
        self.assertRaisesRegex(ValueError, "64 bits", messagepack.encode, 1 << 64)

    def test_they_are_what_their_types_say_and_nothing_else(self):
        order = {"number": "o", "pieces": 2, "more": 1}
        cases = [
            (int, 7, 7, [1.5, "7", True, 1 << 63, None]),
            (ambrosia.u8, 255, 255, [256, -1]),
            (float, 1, 1.0, ["1", True, None]),
            (bool, True, True, [0, None]),
            (None, None, None, [0]),
            (int | None, None, None, ["x"]),
            (bytes, [1, 2], b"\1\2", [[256], "x", 5]),
            (list[int], [1, 2], [1, 2], [[1, "x"], 1, {}]),
            (set[str], ["a", "b"], {"a", "b"}, [1]),
            (tuple[int, str], [1, "x"], (1, "x"), [[1], [1, "x", 2]]),
            (dict[str, int], {"a": 1}, {"a": 1}, [{"a": "x"}, [1]]),
            (Order, order, Order("o", 2, None), [{"number": "o"}, [], "o"]),
            (Colour, "red", Colour.RED, ["blue", 1, []]),
            (Any, {"deep": [1]}, {"deep": [1]}, []),
        ]
        for annotation, sent, taken, others in cases:
            of = types.of(annotation)
            self.assertEqual(of.take(messagepack.decode(messagepack.encode(sent)), "it"), taken, of.text)
            self.assertEqual(of.take(messagepack.decode(messagepack.encode(of.give(taken, "it"))), "it"), taken, of.text)
            for other in others:
                with self.assertRaisesRegex(TypeError, "it", msg=f"{of.text} {other!r}"):
                    of.take(messagepack.decode(messagepack.encode(other)) if other != 1 << 63 else other, "it")
        text = "record { number: string, pieces: u32, note: option<string>, tags: list<string> }"
        self.assertEqual(types.of(Order).text, text)
        self.assertEqual(types.of(Colour).text, "enum { red, green }")
        self.assertRaisesRegex(TypeError, "no type of arguments", types.of, complex)


class Effects(unittest.TestCase):
    def of(self, run):
        """The bytes that one handler brings about."""

        class One:
            def now(self) -> Any:
                return run()

        guest = Guest(ambrosia.immortal(One))
        ambrosia.world = Harness(guest.cls)
        message = layout.message(layout.FORK, layout.method_id("now"), 0, messagepack.encode([]))
        return guest.deliver(layout.RUN.pack(0, 1, 0, len(message), 0) + message)

    def test_they_are_laid_out_as_the_golden_files_have_them(self):
        self.assertEqual(layout.method_id("add"), 0x3B391274)
        forked = self.of(lambda: ambrosia.fork("peer", "add", 5))
        self.assertTrue(forked and golden("effects.bin").startswith(forked))
        emitted = self.of(lambda: ambrosia.emit("paid", 7))[layout.EFFECT.size :]
        self.assertTrue(emitted and emitted in golden("outside.bin"))
        exits = self.of(lambda: ambrosia.exit(-2))[layout.EFFECT.size :]
        self.assertTrue(exits and exits in golden("messages.bin"))


@ambrosia.immortal
class Store:
    orders: dict[str, Order] = dataclasses.field(default_factory=dict)
    colour: Colour = Colour.RED
    asked: int = 0

    def put(self, order: Order) -> None:
        self.orders[order.number] = order

    @ambrosia.query
    def get(self) -> int:
        self.asked += 1
        return self.asked

    def stop(self) -> None:
        ambrosia.exit(3)


def counting(annotation, initial, version=1, migrate=None):
    class Counting:
        VERSION: ClassVar[int] = version
        held: annotation = initial

    if migrate is not None:
        Counting.migrate = staticmethod(migrate)
    return ambrosia.immortal(Counting)


class Swaps(unittest.TestCase):
    def test_they_hand_over_all_that_the_fields_hold(self):
        store = Harness(Store)
        store.ask("put", {"number": "o-1", "pieces": 2})
        store.state.colour = Colour.GREEN
        before = store.state
        store.swap(Store)
        self.assertIsNot(store.state, before)
        self.assertEqual(store.state, before)

    def test_one_that_would_lose_something_is_refused_by_name(self):
        wrong = Harness(counting(int, 1))
        wrong.state.held = "text"
        self.assertRaisesRegex(TypeError, "Counting.held: 'text' is no s64", wrong.swap, counting(int, 1))
        self.assertRaisesRegex(ValueError, "held: 1 is no string", Harness(counting(int, 1)).swap, counting(str, ""))
        newer, older = counting(int, 1, 3), counting(int, 1, 2)
        self.assertRaisesRegex(ValueError, "version 3, and Counting of this module has version 2", Harness(newer).swap, older)
        self.assertRaisesRegex(ValueError, "no `migrate`", Harness(counting(int, 1)).swap, older)
        migrated = Harness(counting(int, 1))
        migrated.swap(counting(int, 0, 2, lambda fields, version: {"held": fields["held"] + version * 10}))
        self.assertEqual(migrated.state.held, 11)


class Immortals(unittest.TestCase):
    def test_what_cannot_be_right_is_said_when_the_component_is_built(self):
        class Twice:
            total: int = 0

            def total(self) -> int:
                return 1

        class Bare:
            total: int

        class Waits:
            async def total(self) -> int:
                return 1

        class Odd:
            def total(self, *numbers: int) -> int:
                return 1

        for cls, why in [
            (Twice, "Twice.total is a field as well as a method"),
            (Bare, "Bare.total has no default"),
            (Waits, "Waits.total is async"),
            (Odd, "numbers is no plain argument"),
        ]:
            self.assertRaisesRegex(TypeError, why, ambrosia.immortal, cls)

    def test_a_field_that_is_not_declared_cannot_be_lost(self):
        self.assertRaises(AttributeError, setattr, Harness(Store).state, "other", 1)

    def test_a_query_that_changes_the_state_fails_its_test_and_nothing_is_handled_after_an_exit(self):
        store = Harness(Store)
        self.assertRaisesRegex(AssertionError, "get is a query, and has changed the state", store.ask, "get")
        self.assertRaisesRegex(HandlerError, "there is no method", store.ask, "nothing")
        store.ask("stop")
        self.assertEqual(store.exit_code, 3)
        self.assertIsNone(store.ask("put", {"number": "o-1", "pieces": 2}))
        self.assertEqual(store.state.orders, {})


if __name__ == "__main__":
    unittest.main()
