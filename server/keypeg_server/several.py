"""One server among several on a database: its homes, the relay, and the news, put together.

Promises: `interceptors` carry calls to where they belong from the first call on; `start` joins the others,
`leave` gives everything back while this server still answers. Servers with other secrets than those that serve the
database already do not start.

Leaves to others: everything that a server alone does, too (app.py), and the parts.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Final

import grpc.aio
from sqlmodel import Session

from keypeg import names
from keypeg.v1.session_service_pb2 import CloseSessionRequest
from keypeg_server import computer, tls
from keypeg_server.domain.events import CatalogChanged
from keypeg_server.opened import Opened, StartError, new_ids
from keypeg_server.rpc import caller
from keypeg_server.rpc.parents import Routes
from keypeg_server.rpc.peers import Peers, dialer
from keypeg_server.rpc.persons import Persons
from keypeg_server.rpc.relay import Relay
from keypeg_server.rpc.relayed import Seal
from keypeg_server.service.authenticators import Authenticators
from keypeg_server.service.cluster import Cluster
from keypeg_server.service.household import ServerHousehold
from keypeg_server.service.sessions import Sessions
from keypeg_server.service.tickets import TicketBox
from keypeg_server.service.token_texts import TokenTexts
from keypeg_server.storage import log_store
from keypeg_server.storage.fence import Fence
from keypeg_server.storage.home_store import SqlHomes
from keypeg_server.storage.log_writer import LogWriter
from keypeg_server.storage.news_store import NewsWriter
from keypeg_server.storage.postgres import PostgresDatabase
from keypeg_server.storage.tables import MetaRow

SECRETS: Final = (
    "secrets"  # of table meta: what tells the secrets of this database's servers from others
)
_CONTEXT: Final = b"keypeg servers of one database v1"


class Several:
    """What a server needs to be one of several."""

    def __init__(
        self, opened: Opened, identity: Callable[[], tls.Identity], texts: TokenTexts
    ) -> None:
        database = opened.database
        assert isinstance(database, PostgresDatabase), database.place
        self._opened = opened
        self._database = database
        self._secrets = opened.secrets()
        self._tickets = TicketBox(self._secrets.ticket_key, self._secrets.release_key)
        self._news = NewsWriter()
        self._rows = SqlHomes(database, opened.clock)
        self.homes: Final = Cluster(
            self._rows,
            opened.clock,
            new_ids(opened.clock),
            process=computer.this_process(),
            gone=computer.has_ended,
            last_news=lambda: self._news.number,
            renamed=self._renamed,
        )
        _authority(opened, identity())  # now, where a sentence is heard
        self._peers = Peers(dialer(lambda: _authority(opened, identity())))
        self.homes.on_nodes = self._peers.keep
        self._sessions: Sessions | None = None
        self._relay = Relay(
            self.homes,
            Routes(
                self._rows.account_of, self._account_of_session, Persons(opened.store, texts).parent
            ),
            self._peers,
            Seal(self._secrets.release_key),
            caller.known,
            self.homes.others,
        )
        database.fence = Fence(self.homes)
        opened.store.news = self._news
        opened.hub.subscribe(CatalogChanged, self._catalog_changed)

    @property
    def interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """They come after the gate."""
        return [self._relay]

    async def start(
        self,
        address: str,
        sessions: Sessions,
        tokens: Authenticators,
        log: LogWriter,
        serving: Callable[[bool], None],
    ) -> None:
        """Join the others; `serving` hears whenever this server may act, and may not any more."""
        address = self._opened.settings.server.advertise or address
        _check_address(address)
        await self._check_secrets()
        self._sessions = sessions
        household = ServerHousehold(
            sessions,
            self._opened.store,
            _Log(self._database, log, self._opened),
            self._opened.hub.publish,
            tokens.forget_all,
        )
        self.homes.on_alive = serving
        await self.homes.start(address, household)
        self.homes.run()

    async def leave(self) -> None:
        """Give all homes back."""
        await self.homes.leave()

    async def close(self) -> None:
        """End what is carried to others."""
        self._relay.drain()
        await asyncio.sleep(0)
        await self._peers.close()

    def _renamed(self, node: str) -> None:
        self._news.node = node

    def _catalog_changed(self, _: CatalogChanged) -> None:
        self._opened.store.generation += 1

    async def _account_of_session(self, request: CloseSessionRequest) -> str | None:
        """Where a session is; of one without seats only when it is here.

        Nobody is asked for whoever has not its token: the servers have one key for them.
        """
        (id,) = names.SESSION.parse(request.session, "session")
        if self._sessions is None or not self._tickets.is_release_token(id, request.release_token):
            return None
        here = self._sessions.presence.get(id)
        if here is not None and here.entitlement is not None:
            return here.entitlement.account
        return await self._rows.holds(id)

    async def _check_secrets(self) -> None:
        mine = hmac.digest(self._secrets.release_key, _CONTEXT, "sha256").hex()[:32]

        def work(session: Session) -> str:
            row = session.get(MetaRow, SECRETS)
            if row is None:
                session.add(MetaRow(key=SECRETS, value=mine))
                return mine
            return row.value

        if await self._database.write(work) != mine:
            raise StartError(
                f"The database {self._database.place} is served with other secrets than those in "
                f"{self._opened.data}; copy the data directory of the server that was there first."
            )


def _authority(opened: Opened, identity: tls.Identity) -> bytes | None:
    """Who signed the certificates of the other servers; None for the system's authorities."""
    server = opened.settings.server
    if not server.tls_certificate:
        return identity.ca_file.read_bytes()
    if not server.tls_authority:
        return None
    file = opened.data / server.tls_authority
    try:
        return file.read_bytes()
    except OSError as error:
        raise StartError(
            f"The authority {file} can not be read ({error.strerror}); see server.tls_authority."
        ) from error


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise StartError(f"{address!r} is no host and port that others reach this server at.")
    if host.strip("[]") in ("0.0.0.0", "::", "*"):  # noqa: S104 - it is refused
        raise StartError(
            f"Other servers and clients can not reach this one at {address}; say with --advertise or "
            "server.advertise at which host and port they do."
        )


class _Log:
    """The log of a home."""

    def __init__(self, database: PostgresDatabase, log: LogWriter, opened: Opened) -> None:
        self._database = database
        self._log = log
        self._opened = opened

    async def begin(self, parent: str) -> None:
        await log_store.check(self._database, self._log, self._opened.clock, parents=[parent])

    def forget(self, parent: str) -> None:
        self._log.forget([parent])
