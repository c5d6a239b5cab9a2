"""The stage of the table of commands (cloud_stage.py) in the model.

Promises: what commands are about has the same names there and here.

Leaves to others: what was done before (cloud_table.py).
"""

from __future__ import annotations

from tests.server.service.cloud_stage import ON_KEYS, OWNED, PEOPLE
from tests.server.service.license_model import Living, LivingAccount


class World(LivingAccount):
    """An account with what the commands are about."""

    def __init__(self, *, group: bool) -> None:
        super().__init__(*PEOPLE, group=group)
        self.placed: dict[str, int] = {}  # numbers of activations, by license
        for name, count in OWNED.items():
            self.owns(name, count)
        for name, key in ON_KEYS.items():
            self.activate(name, key)
        self.remember(*ON_KEYS)
        self.suspend("old")
        self.living("eq").suspends = True
        self.add_capacity("syn")
        self.living("syn").for_an_hour = True
        self.move("amp", self.placed["amp"], self.place("ann"))

    def owns(self, product: str, count: int = 1) -> str:
        """A license is deposited; of copies, the second is called `daw2`."""
        copies = [one for one in self.owned if one.product == product]
        name = f"{product}{len(copies) + 1}" if copies else product
        return self.deposit(Living(name, product, count))

    def remember(self, *licenses: str) -> None:
        """The activations that the commands are about are those of now."""
        for name in licenses:
            self.placed[name] = next(iter(self.living(name).places.values()), 0)

    def clouds(self) -> list[str]:
        """All that are shown of cloud sessions."""
        if not self.group:
            return [self.shown()]
        return [f"{one} {self.shown(one)}" for one in self.people]
