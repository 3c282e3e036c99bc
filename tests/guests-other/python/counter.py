"""A running total, told to whoever asks. Its state is the fields of an object: nothing is saved or loaded."""

import random
import time

from immortal import exports


class Counter:
    def __init__(self):
        self.total_of_all = 0
        self.texts = []

    def on_first_start(self):
        print("counting in Python")

    def on_becoming_primary(self):
        print(f"at {self.total_of_all}")

    def add(self, n):
        if type(n) is not int:
            raise TypeError(f"{n!r} is no whole number")
        self.total_of_all += n
        print(f"total {self.total_of_all}")
        return self.total_of_all

    def total(self):
        return self.total_of_all

    def note(self, text):
        self.texts.append(text)
        return len(self.texts)

    def noted(self):
        return self.texts

    def luck(self):
        """What every replica must see alike."""
        return [time.time_ns() // 1_000_000, random.getrandbits(31), hash("a text")]


WitWorld = exports(Counter(), ["add", "total", "note", "noted", "luck"])
