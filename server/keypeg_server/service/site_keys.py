"""The keys of a server as a site: which of them signs, which were withdrawn, and how the database keeps them.

Promises: values. New license documents name the newest key; a key before it signs for as long as a document names it.
What a withdrawn key has signed for people, credentials, is believed no more.

Leaves to others: private keys on disk (site_key_files.py), license documents (site_documents.py), signing (signing.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from keypeg.document import key_id
from keypeg.envelope import Signer


class SiteKeyRefused(Exception):
    """Why a key is not taken, or not withdrawn: one sentence."""


@dataclass(frozen=True)
class KeptSiteKey:
    """A key as the database keeps it."""

    key_id: str
    wrapped: str  # the private key, wrapped, in Base64
    begin_us: int  # microseconds since 1970, UTC; 0 for the first, which is as old as the server
    withdrawn: bool = False


Kept = tuple[KeptSiteKey, ...]
"""The newest first; empty while there is but the first."""


class SiteKeys:
    """What a server signs with as a site."""

    def __init__(self, signers: Sequence[Signer], withdrawn: frozenset[str] = frozenset()) -> None:
        """`signers`: the newest first; `withdrawn` has ids of some of them."""
        self.current: Final = signers[0]
        self.current_id: Final = key_id(signers[0].public_key)
        self.withdrawn: Final = withdrawn
        self._signers = {key_id(one.public_key): one for one in signers}

    def of(self, id: str) -> Signer | None:
        """The key with this id; None when this server has none such, or not yet."""
        return self._signers.get(id)

    def is_withdrawn(self, id: str) -> bool:
        """Whether what it has signed is believed no more."""
        return id in self.withdrawn


def of_rows(rows: Mapping[str, str]) -> Kept:
    """The keys of the database's rows (by id)."""
    found = (KeptSiteKey(id, **json.loads(text)) for id, text in rows.items())
    return tuple(sorted(found, key=lambda one: (one.begin_us, one.key_id), reverse=True))


def text_of(key: KeptSiteKey) -> str:
    """What the row of a key says."""
    said = dataclasses.asdict(key)
    del said["key_id"]
    return json.dumps(said)


def begin_after(kept: Kept, now_us: int) -> int:
    """When a new key begins: now, and after all others, whatever the clocks of servers say."""
    return max(now_us, kept[0].begin_us + 1 if kept else 0)


def withdrawn(kept: Kept, id: str) -> KeptSiteKey:
    """A key that came before, without trust in it."""
    if not kept or kept[0].key_id == id:
        raise SiteKeyRefused(
            f"The key {id} signs; run `keypegd site-key rotate` first, so that another one does."
        )
    for one in kept:
        if one.key_id == id:
            return replace(one, withdrawn=True)
    raise SiteKeyRefused(f"This server has no key {id}; `keypegd site-key list` shows them.")
