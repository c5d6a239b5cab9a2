"""Names as short as they can be pasted back.

Promises: pure. A made id (32 hexadecimal digits) is shown by its end, as long as needed to tell it from
the others on the screen; a chosen id is shown whole. `match` takes whatever was shown, an id, or a name.

Leaves to others: listing what there is (resolve.py), and building names (keypeg.names).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

SHORTEST: Final = 8  # characters: 32 bits of an id's random end
_MADE: Final = re.compile(r"[0-9a-f]{32}")


def last(name: str) -> str:
    """The id at the end of a name."""
    return name.rpartition("/")[2]


def product(name: str) -> str:
    """`publishers/acme/products/cad` as `acme/cad`."""
    parts = name.split("/")
    if len(parts) == 4 and parts[0] == "publishers" and parts[2] == "products":
        return f"{parts[1]}/{parts[3]}"
    return name


def shortened(names: Iterable[str]) -> Mapping[str, str]:
    """Each name with what to show for it, all different as far as the ids are."""
    whole = {name: last(name) for name in names}
    made = {ident for ident in whole.values() if _MADE.fullmatch(ident)}
    length = SHORTEST
    while length < 32 and len({ident[-length:] for ident in made}) < len(made):
        length += 2
    return {name: ident[-length:] if ident in made else ident for name, ident in whole.items()}


def match(text: str, names: Iterable[str]) -> list[str]:
    """The names that `text` can mean: a name or an id exactly, else the end of a made id."""
    known = list(dict.fromkeys(names))
    exact = [name for name in known if text in (name, last(name))]
    if exact or len(text) < 4:
        return exact
    return [name for name in known if _MADE.fullmatch(last(name)) and last(name).endswith(text)]
