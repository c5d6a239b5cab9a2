"""The profile that signing in writes: which server, verified by which certificates.

Promises: an old profile with the options over it, or a new one; certificates whose fingerprint a person has compared
are those, or refused.

Leaves to others: where profiles are kept (keypeg.profile).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from keypeg.cli.asking import line
from keypeg.cli.context import Cli

if TYPE_CHECKING:
    from keypeg.profile import Profile


def profile_to_write(cli: Cli) -> Profile:
    """The profile to write: an old one with the options over it, or a new one."""
    from keypeg import profile as profiles

    name = cli.settings.get("profile")
    if name and name not in profiles.names():
        server = cli.settings.get("server") or os.environ.get("KEYPEG_SERVER") or ""
        ca_file = cli.settings.get("ca_file") or os.environ.get("KEYPEG_CA_FILE") or ""
        tokens = os.environ.get("KEYPEG_TOKENS") or ""
        found = profiles.Profile(name=name, server=server, ca_file=ca_file, tokens=tokens)
    else:
        found = cli.profile()
    return found if found.server else replace(found, server=line("Server (host:port)", "--server"))


def whole_path(path: str) -> str:
    """A path that holds from every directory; empty stays empty."""
    return os.path.abspath(os.path.expanduser(path)) if path else ""


def check_fingerprint(profile: Profile, expected: str) -> None:
    """Refuse certificates that are not the ones whose fingerprint a person compared."""
    import hashlib
    import hmac
    import re
    import ssl

    from keypeg.errors import FieldInvalid

    wanted = re.sub(r"[^0-9a-f]", "", expected.lower().removeprefix("sha256"))
    pem = profile.ca_certificates()
    if pem is None:
        raise FieldInvalid(
            "--fingerprint checks the certificates in --ca-file; name that file too."
        )
    blocks = re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----",
        pem.decode("ascii", "replace"),
        re.S,
    )
    if len(blocks) != 1:
        raise FieldInvalid(
            f"{profile.ca_file} holds {len(blocks)} certificates; --fingerprint needs exactly one."
        )
    try:
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(blocks[0])).hexdigest()
    except ValueError as error:
        raise FieldInvalid(f"{profile.ca_file} holds no certificate that can be read.") from error
    if not hmac.compare_digest(found, wanted):
        pairs = ":".join(re.findall("..", found))
        raise FieldInvalid(
            f"The certificate in {profile.ca_file} has the fingerprint {pairs}, not the expected one; "
            "get the file again from the server's operator."
        )
