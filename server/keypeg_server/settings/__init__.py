"""The server's settings: what can be set, what it is when it is not, and between which limits.

Promises: one frozen dataclass a section; every setting says here what it does and why its limits are there.
docs/operations.md shows the same table, and a test compares the two.

Leaves to others: reading them (settings_reading.py), and what the values mean (app.py hands them out).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from keypeg_server.settings.limits import Limits as Limits
from keypeg_server.settings.limits import Passwords as Passwords
from keypeg_server.settings.policies import Audit as Audit
from keypeg_server.settings.policies import Clients as Clients
from keypeg_server.settings.policies import Credentials as Credentials
from keypeg_server.settings.policies import Keys as Keys
from keypeg_server.settings.policies import Passkeys as Passkeys
from keypeg_server.settings.policies import Sessions as Sessions
from keypeg_server.settings.policies import SignIn as SignIn
from keypeg_server.settings.policies import SignInProvider as SignInProvider
from keypeg_server.settings.policies import Tokens as Tokens
from keypeg_server.settings.standing import Hardware as Hardware
from keypeg_server.settings.standing import Logs as Logs
from keypeg_server.settings.standing import Secrets as Secrets
from keypeg_server.settings.standing import Server as Server
from keypeg_server.settings.standing import Storage as Storage
from keypeg_server.settings.standing import Tls as Tls


@dataclass(frozen=True)
class Settings:
    """All sections."""

    server: Server = field(default_factory=Server)
    limits: Limits = field(default_factory=Limits)
    passwords: Passwords = field(default_factory=Passwords)
    tokens: Tokens = field(default_factory=Tokens)
    sign_in: SignIn = field(default_factory=SignIn)
    tls: Tls = field(default_factory=Tls)
    passkeys: Passkeys = field(default_factory=Passkeys)
    clients: Clients = field(default_factory=Clients)
    sessions: Sessions = field(default_factory=Sessions)
    credentials: Credentials = field(default_factory=Credentials)
    keys: Keys = field(default_factory=Keys)
    logs: Logs = field(default_factory=Logs)
    audit: Audit = field(default_factory=Audit)
    storage: Storage = field(default_factory=Storage)
    secrets: Secrets = field(default_factory=Secrets)
    hardware: Hardware = field(default_factory=Hardware)

    @property
    def relying_party(self) -> str:
        """The name that passkeys are for."""
        return self.passkeys.name or self.server.advertise.rpartition(":")[0] or "localhost"


CHOICES: Final = {
    ("tls", "client_certificates"): ("off", "accept", "require-for-bridges"),
    ("logs", "level"): ("debug", "info", "warning", "error"),
    ("logs", "format"): ("auto", "json", "text"),
    ("sign_in.providers", "second_factor"): ("ours", "amr", "theirs"),
}
