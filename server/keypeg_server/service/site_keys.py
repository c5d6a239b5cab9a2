"""The keys of a server as a site: which of them signs, which were withdrawn, and how the database keeps them.

Promises: values. New license documents name the newest key; a key before it signs for as long as a document names it.
What a withdrawn key has signed for people, credentials, is believed no more.

Leaves to others: private keys on disk (site_key_files.py), license documents (site_documents.py), signing (signing.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from keypeg.document import key_id
from keypeg.envelope import Signer

SITE_KEY_COUNT: Final = 64  # as many as a delegation has


class SiteKeyRefused(Exception):
    """Why a key is not taken, or not withdrawn: one sentence."""


@dataclass(frozen=True)
class KeptSiteKey:
    """A key as the database keeps it."""

    key_id: str
    wrapped: str  # the private key, wrapped, in Base64
    begin_time: str  # RFC 3339; empty for the first, which is as old as the server
    withdrawn: bool = False


Kept = tuple[KeptSiteKey, ...]
"""The newest first; empty while there is but the first."""


class SiteKeys:
    """What a server signs with as a site."""

    def __init__(self, signers: Sequence[Signer], withdrawn: frozenset[str] = frozenset()) -> None:
        """`signers`: the newest first; `withdrawn` has ids of some of them."""
        self.current: Final = signers[0]
        self.current_id: Final = key_id(signers[0].public_key)
        self._signers = {key_id(one.public_key): one for one in signers}
        self._withdrawn = withdrawn

    def of(self, id: str) -> Signer | None:
        """The key with this id; None when this server has none such, or not yet."""
        return self._signers.get(id)

    def is_withdrawn(self, id: str) -> bool:
        """Whether what it has signed is believed no more."""
        return id in self._withdrawn


def followed(kept: Kept, first: KeptSiteKey, new: KeptSiteKey) -> Kept:
    """With a new key; `first` is the one that a server has before any other."""
    there = kept or (first,)
    if any(one.key_id == new.key_id for one in there):
        raise SiteKeyRefused(f"The key {new.key_id} is one of this server already; make a new one.")
    if len(there) >= SITE_KEY_COUNT:
        raise SiteKeyRefused(f"A server keeps {SITE_KEY_COUNT} keys as a site, and has them.")
    return (new, *there)


def withdrawn(kept: Kept, id: str) -> Kept:
    """Without trust in a key that came before."""
    if not kept or kept[0].key_id == id:
        raise SiteKeyRefused(
            f"The key {id} signs; run `keypegd site-key rotate` first, so that another one does."
        )
    if all(one.key_id != id for one in kept):
        raise SiteKeyRefused(f"This server has no key {id}; `keypegd site-key list` shows them.")
    return tuple(replace(one, withdrawn=one.withdrawn or one.key_id == id) for one in kept)


def to_text(kept: Kept) -> str:
    """For a row of the database."""
    return json.dumps([dataclasses.asdict(one) for one in kept])


def of_text(text: str) -> Kept:
    """The reverse."""
    return tuple(KeptSiteKey(**one) for one in json.loads(text)) if text else ()
