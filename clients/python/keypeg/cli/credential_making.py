"""Making the file of a credential: the key pair here, the server's word on it there, both on disk or nothing.

Promises: the private key never leaves this process but into the file; a file that is there is never written over, and
the place is claimed before the server is asked.

Leaves to others: what the server is asked for (credential).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keypeg.v1 import credential_pb2, document_pb2


async def written(
    out: Path,
    passphrase: str,
    make: Callable[[document_pb2.PublicKey], Awaitable[Any]],
) -> credential_pb2.Credential:
    """Makes a key and what `make` makes of it, and writes both; what the server says of it."""
    from keypeg import credential_file, files
    from keypeg.envelope import Ed25519Signer

    signer = Ed25519Signer.generate()
    _claim(out)
    try:
        answer = await make(signer.public_key)
        made = credential_file.make(answer.document, signer.private_bytes(), passphrase)
        files.write(out, made.text().encode())
    except BaseException:
        _give_up(out)
        raise
    credential: credential_pb2.Credential = answer.credential
    return credential


def _claim(out: Path) -> None:
    from keypeg.errors import FieldInvalid

    try:
        with out.open("x"):
            pass
    except OSError as error:
        raise FieldInvalid(
            f"{out} can not be written: {error.strerror}; name a new file.", field="out"
        ) from error


def _give_up(out: Path) -> None:
    out.unlink(missing_ok=True)
