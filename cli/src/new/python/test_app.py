import unittest

from ambrosia.testing import HandlerError, Harness
from app import Counter


class CounterTest(unittest.TestCase):
    def test_what_was_added_is_remembered(self):
        counter = Harness(Counter)
        self.assertEqual(counter.ask("add", 2), 2)
        self.assertEqual(counter.ask("add", 3), 5)
        counter.take_over()
        self.assertEqual(counter.ask("total"), 5)

    def test_an_argument_of_another_type_is_refused_and_nothing_is_added(self):
        counter = Harness(Counter)
        with self.assertRaisesRegex(HandlerError, "n: 'much' is no s64"):
            counter.ask("add", "much")
        self.assertEqual(counter.ask("total"), 0)


if __name__ == "__main__":
    unittest.main()
