"""The private keys of a server as a site: the first in a file, those that came after it in the database, wrapped.

Promises: all servers of a database have the same. A new key comes as a file that holds it, a withdrawal as an empty one
that is called after the key; both are taken once, and removed then.

Leaves to others: the folder that they come in (signing_keys.py), which key signs (service/site_keys.py).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import Path
from typing import Final

from keypeg.document import Ed25519Signer, key_id
from keypeg.envelope import Signer
from keypeg.errors import KeypegError
from keypeg_server import secret_files
from keypeg_server.clock import to_us
from keypeg_server.opened import Opened, StartError
from keypeg_server.secret_files import Secrets
from keypeg_server.service.site_keys import (
    Kept,
    KeptSiteKey,
    SiteKeys,
    begin_after,
    of_rows,
    text_of,
    withdrawn,
)
from keypeg_server.service.store import Unit
from keypeg_server.service.wrapping import AesGcmWrapping, Wrapping

NEW: Final = ".key"
WITHDRAWAL: Final = ".withdrawal"


def read(secrets: Secrets, kept: Kept) -> SiteKeys:
    """What signs; StartError when a key can not be read."""
    if not kept:
        return SiteKeys([secrets.site])
    gone = frozenset(one.key_id for one in kept if one.withdrawn)
    wrapping = AesGcmWrapping.of_master(secrets.management_key)
    return SiteKeys([_unwrapped(wrapping, one) for one in kept], gone)


def followed_by(opened: Opened, file: Path) -> Callable[[Unit], None]:
    """Take a new key, from the file that holds it."""
    new = Ed25519Signer(secret_files.read_key(file, opened.vault))

    def change(unit: Unit) -> None:
        kept = of_rows(unit.catalog.site_keys())
        if any(one.key_id == key_id(new.public_key) for one in kept):
            return  # another one was quicker
        added = [_wrapped(opened, new, begin_after(kept, to_us(opened.clock.wall())))]
        if not kept:
            added.append(_wrapped(opened, opened.secrets().site, 0))
        for one in added:
            unit.catalog.keep_site_key(one.key_id, text_of(one))

    return change


def without(_: Opened, file: Path) -> Callable[[Unit], None]:
    """Take a withdrawal."""

    def change(unit: Unit) -> None:
        one = withdrawn(of_rows(unit.catalog.site_keys()), file.stem)
        unit.catalog.keep_site_key(one.key_id, text_of(one))

    return change


def _wrapped(opened: Opened, signer: Ed25519Signer, begin_us: int) -> KeptSiteKey:
    id = key_id(signer.public_key)
    wrapped = opened.wrapping().wrap(signer.private_bytes(), _context(id))
    return KeptSiteKey(id, base64.b64encode(wrapped).decode(), begin_us)


def _unwrapped(wrapping: Wrapping, kept: KeptSiteKey) -> Signer:
    try:
        wrapped = base64.b64decode(kept.wrapped, validate=True)
        return Ed25519Signer(wrapping.unwrap(wrapped, _context(kept.key_id)))
    except (binascii.Error, KeypegError, ValueError) as error:
        raise StartError(f"The site key {kept.key_id} can not be read: {error}") from error


def _context(id: str) -> str:
    return f"site key {id}"
