"""The component: the exports of wit/immortal.wit. Only a component has this; tests have `testing.py`."""

import ambrosia
import app
from componentize_py_types import Err
from wit_world import WitWorld as World
from wit_world.exports import Upgrade as UpgradeInterface
from wit_world.exports.upgrade import Description, Refusal_Unreadable, Saved
from wit_world.imports import host
from wit_world.imports.description import Argument, Kind, Method

ambrosia.world = host
if len(ambrosia.declared) != 1:
    raise TypeError(f"app.py has {len(ambrosia.declared)} classes with @ambrosia.immortal, and a component is made of one")
guest = ambrosia.Guest(ambrosia.declared[0])


class WitWorld(World):
    def deliver(self, runs):
        return guest.deliver(runs)

    def describe(self):
        return [described(id, method) for id, method in guest.methods.items()]


def described(id, method):
    return Method(
        id=id,
        name=method.name,
        kind=Kind.QUERY if method.is_query else Kind.UPDATE,
        arguments=[Argument(name, one.text) for name, one in method.takes.items()],
        result=method.gives.text,
        docs=method.docs,
        formerly=[],
    )


# What can't be handed over is said by `runtime`, which is empty otherwise: an exception would not reach whoever asked for the swap.
class Upgrade(UpgradeInterface):
    def describe(self):
        return Description(guest.cls.__name__, guest.version, guest.cls.ambrosia_state.text)

    def save(self):
        try:
            return Saved(guest.version, guest.save(), [], b"")
        except (TypeError, ValueError) as error:
            return Saved(guest.version, b"", [], f"{error}".encode())

    def load(self, saved, end_waiting):
        if saved.runtime or saved.waiting:
            # What another language carries over beside the state is no text.
            raise refusal(f"the code that runs does not give its state away: {saved.runtime.decode(errors='replace')}")
        try:
            guest.load(saved.version, saved.state)
        except Exception as error:
            raise refusal(str(error))
        return b""


def refusal(why):
    return Err(Refusal_Unreadable(why))
