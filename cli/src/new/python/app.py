"""An immortal: its state survives the death of any process, and each request is handled once."""

import ambrosia


@ambrosia.immortal
class Counter:
    # What it remembers.
    sum: int = 0

    def add(self, n: int) -> int:
        """Adds to the total, and returns it."""
        self.sum += n
        print(f"the total is {self.sum}")
        return self.sum

    @ambrosia.query
    def total(self) -> int:
        """Returns the total."""
        return self.sum
