"""Keeping a credential file on this computer: in a profile, which signs in with it from then on.

Promises: the file is kept whole and without its passphrase, readable by its owner only; tokens that the profile had
are forgotten.

Leaves to others: opening the file (credential_file), signing in with it (credential_sign_in).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keypeg import credential_file, files, sign_in
from keypeg import profile as profiles
from keypeg.credential_file import CredentialFile
from keypeg.profile import Profile

if TYPE_CHECKING:
    from keypeg.envelope import Ed25519Signer
    from keypeg.v1.credential_service_pb2 import SignInWithCredentialResponse


def keep(
    name: str,
    file: CredentialFile,
    signer: Ed25519Signer,
    server: str,
    answer: SignInWithCredentialResponse,
    *,
    current: bool = True,
) -> Profile:
    """Keeps a file that has signed in, in the profile of that name; `current` makes it the default one."""
    path = profiles.config_dir() / profiles.CREDENTIAL_DIRECTORY / name
    kept = credential_file.make(file.envelope, signer.private_bytes())
    files.write(path, kept.text().encode())
    sign_in.forget_tokens(name)
    profile = Profile(
        name=name,
        server=server,
        account=answer.account,
        user=answer.user.name,
        credential=str(path),
    )
    profiles.save(profile, current=current)
    return profile
