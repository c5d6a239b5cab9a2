"""Homes: by which server of a database an account or publisher (a *parent*) is served, and taking them over.

Promises: `find` gives one answer for a parent that holds when it is given: here, or at the address of a server
that lives. What nobody living serves is taken, loaded (`Household.adopt`) and then served; what this server has
no more is dropped (`Household.abandon`) before anything else is answered of it. `alive` is false before
others may take what is here. After an outage of the database, and after having been stopped, a server goes on
by itself: with what it still has, or as a new node with nothing.

Leaves to others: the rules and their argument (domain/home.py), the rows (storage/home_store.py), until when it may
act (cluster_acting.py), which servers live (cluster_nodes.py) and which news are new (cluster_news.py), what nobody
asks for (cluster_orphans.py), what is loaded and dropped (the household), calls that belong elsewhere (rpc/relay.py).
One event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from keypeg.errors import KeypegError, StorageUnavailable
from keypeg_server.domain import home as rules
from keypeg_server.domain.home import Happens, State
from keypeg_server.service.cluster_acting import Acting
from keypeg_server.service.cluster_homes import Home, Nobody
from keypeg_server.service.cluster_news import Newsroom
from keypeg_server.service.cluster_nodes import Nodes
from keypeg_server.service.cluster_orphans import Orphans
from keypeg_server.service.homes import Directory, Here, Household, Node, There
from keypeg_server.service.ports import Clock
from keypeg_server.service.refusals import doubtful, draining, elsewhere

_LOG: Final = logging.getLogger(__name__)

ASKED_AT_ONCE: Final = 4  # homes asked for at a time: so many may come before a beat
RETRY_AFTER: Final = timedelta(milliseconds=250)
LEAVE_TIME: Final = 3.0  # seconds to say so, when the database does not answer


class Cluster:
    """One server among several on a database. `start` makes it one, `leave` ends that."""

    def __init__(
        self,
        rows: Directory,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        process: str = "",
        gone: Callable[[str], bool] = lambda _: False,
        last_news: Callable[[], int] = lambda: 0,
        renamed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`gone` says whether a process (see Node) has certainly ended; `last_news` is the number of this
        server's latest; `renamed` hears under which node they are to be from now on."""
        self._rows = rows
        self._clock = clock
        self._address = ""
        self._new_id = new_id
        self._process = process
        self._gone = gone
        self._news = Newsroom(rows, last_news)
        self._renamed = renamed
        self._node = ""
        self._homes: dict[str, Home] = {}
        self._nodes = Nodes(rows, lambda nodes: self.on_nodes(nodes))
        self._acting = Acting(clock, lambda: self._node, self._acts)
        self._orphans = Orphans(rows, self._is_first, self.find)
        self._failing = False
        self._leaving = False
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._household: Household = Nobody()
        self.on_alive: Callable[[bool], None] = lambda alive: None
        self.on_nodes: Callable[[Mapping[str, Node]], None] = lambda nodes: None

    # What others ask.

    @property
    def node(self) -> str:
        return self._node

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All servers, as last seen."""
        return self._nodes.known

    def alive(self) -> bool:
        """Whether this server may act: no other takes what is here before this is false."""
        return self._acting.may()

    def epoch(self, parent: str) -> int | None:
        """Under which epoch this server writes for a parent; None when it does not. Any thread."""
        home = self._homes.get(parent)
        return None if home is None else home.epoch

    def here(self, parent: str) -> int | None:
        home = self._homes.get(parent)
        if home is None or home.state is not State.MINE or not self.alive():
            return None
        return home.epoch

    def others(self) -> list[There]:
        """All servers but this one, as last seen."""
        return [There(id, one.address) for id, one in self.nodes.items() if id != self._node]

    def mine(self) -> list[str]:
        """All parents that are served here."""
        return [parent for parent, home in self._homes.items() if home.state is State.MINE]

    async def find(self, parent: str) -> Here | There:
        while True:
            home = self._homes.get(parent)
            if home is None:
                home = self._homes[parent] = Home()
            if home.state is State.ELSEWHERE and home.there is not None:
                if home.there.node in self.nodes and not self._leaving:
                    return home.there
                home.orphaned()
            if self._leaving:
                found = await self._rows.look(parent)
                if found is None or found.node == self._node:
                    raise draining()
                return found
            if not self.alive():
                raise doubtful()
            if home.state is State.MINE and home.epoch is not None:
                return Here(home.epoch)
            if home.task is None:
                await asyncio.shield(home.wanted(self._take(parent, home)))
            else:
                await asyncio.shield(home.task)

    def not_there(self, parent: str, there: There) -> None:
        home = self._homes.get(parent)
        if home is not None and home.state is State.ELSEWHERE and home.there == there:
            home.orphaned()

    async def changed(self, there: There, within: float) -> bool:
        return await self._nodes.wait_for_end(there, within)

    def lost(self, believed: Mapping[str, int | None]) -> KeypegError:
        """These turned out not to be here under these epochs; what to tell those who asked."""
        for parent, epoch in believed.items():
            home = self._homes.get(parent)
            if home is not None and epoch is not None and home.epoch == epoch:
                _LOG.info("home lost", extra={"parent": parent})
                self._lose(parent, home)
        return elsewhere(", ".join(sorted(believed)))

    # Its life.

    async def start(self, address: str, household: Household) -> None:
        """Join the others, who reach this server at an address; StorageUnavailable when that can not be."""
        self._address, self._household = address, household
        for node in (await self._rows.nodes()).values():
            if node.process and self._gone(node.process):
                _LOG.info("server had ended", extra={"node": node.id})
                await self._rows.declare_dead(node.id, node.beat)
        await self._join()
        if not await self.tick():
            raise StorageUnavailable(
                "The database took this server's row, but not its first beat; try again.",
                retry_after=RETRY_AFTER,
            )

    def run(self) -> None:
        """Beat from now on."""
        self._tasks.append(asyncio.get_running_loop().create_task(self._beat_forever()))

    async def leave(self) -> None:
        """Give everything back; others take it at once. Nothing is written any more."""
        self._leaving = True
        for task in self._tasks:
            task.cancel()
        self._orphans.leave()
        self._acting.leave()
        taking = [home.task for home in self._homes.values() if home.task is not None]
        self._drop_all()
        if taking:
            await asyncio.wait(taking, timeout=LEAVE_TIME)
        # If not, they find out by the beat that does not come.
        with contextlib.suppress(KeypegError, TimeoutError):
            await asyncio.wait_for(self._rows.leave(self._node), LEAVE_TIME)

    async def tick(self) -> bool:
        """Beat once, and look at the others; whether that was kept."""
        asked = self._clock.monotonic()
        node = self._node
        try:
            beat = await self._rows.beat(node)
        except KeypegError as error:
            if not self._failing:  # once for each time that the database is away
                _LOG.warning("beat failed", extra={"error": str(error)})
            self._failing = True
            return False
        self._failing = False
        if self._leaving:
            return False
        answered = self._clock.monotonic()
        if beat is None:
            await self._died()
            return False
        if self._news.missed(self._nodes.silence(asked)):
            self._household.forget()
        before = self._nodes.see(beat.nodes, node, asked, answered)
        self._acting.extend(rules.acts_until(asked))
        if news := self._news.new_of(beat.news):
            self._household.hear(news)
        left = await self._nodes.gone(before)
        self._news.left(left, answered)
        if left or self._orphans.is_due(answered):
            self._orphans.look(answered)
        await self._news.sweep(node, answered)
        return True

    async def _beat_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + rules.BEAT, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                await self.tick()
            except Exception:  # a fault here must not make a server that never beats again
                _LOG.exception("beat failed")

    async def _join(self) -> None:
        node = Node(self._new_id(), self._address, self._process)
        self._renamed(node.id)
        await self._rows.join(node)
        self._node = node.id
        self._nodes.begin()

    async def _died(self) -> None:
        """Others have declared this server dead: it was stopped, or cut off. Begin anew, with nothing."""
        _LOG.warning("this server was declared dead", extra={"node": self._node})
        self._acting.end()
        self._drop_all()
        self._household.forget()
        with contextlib.suppress(KeypegError):  # the next beat finds no row, and tries again
            await self._join()

    def _acts(self, may: bool) -> None:
        self.on_alive(may)
        if not may:
            self._household.suspend()

    def _is_first(self, parent: str) -> bool:
        """Whether this is the server that takes a parent which nobody serves."""
        return rules.ranked(parent, self.nodes)[:1] == [self._node]

    # Homes.

    async def _take(self, parent: str, home: Home) -> None:
        node = self._node
        try:
            async with self._asking:
                found = await self._rows.take(parent, node)
            if home.state is not State.TAKING:
                return
            if isinstance(found, There):
                home.there = found
                home.happens(Happens.FOUND)
                self._nodes.add(Node(found.node, found.address, ""))
                return
            home.epoch = found.epoch
            await self._household.adopt(parent)
            if home.state is State.TAKING:
                home.happens(Happens.ADOPTED)
                _LOG.info("home taken", extra={"parent": parent, "epoch": found.epoch})
        except BaseException:
            if home.state is State.TAKING:
                home.happens(Happens.FAILED)
                home.epoch = None
                self._household.abandon(parent)
            raise
        finally:
            home.task = None
            if home.state is State.LOSING:
                self._drop(parent, home)

    def _lose(self, parent: str, home: Home) -> None:
        home.happens(Happens.LOST)
        home.epoch = None
        if home.task is None:
            self._drop(parent, home)

    def _drop(self, parent: str, home: Home) -> None:
        self._household.abandon(parent)
        home.happens(Happens.DROPPED)

    def _drop_all(self) -> None:
        for parent, home in self._homes.items():
            if home.state in (State.MINE, State.TAKING):
                self._lose(parent, home)
