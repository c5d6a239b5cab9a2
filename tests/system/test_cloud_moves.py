"""One cloud session, moved back and forth by many at once: it has one holder at any time, and the last mover has it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest

from keypeg.v1 import cloud_session_pb2, cloud_session_service_pb2
from lab.world import CLOUD, Computer, World
from tests.system.people import Customer

Namer = Callable[[str], str]
DEVICES = 8


@dataclass(frozen=True)
class Move:
    """One call that moved it, as the mover saw it."""

    device: str
    begun: float
    ended: float
    generation: int
    moved_from: str


class Watcher:
    """What is told to one who watches: on a thread of its own."""

    def __init__(self, customer: Customer) -> None:
        self.states: list[cloud_session_pb2.CloudSession] = []
        self.changes: list[cloud_session_pb2.CloudChange] = []
        self.missed = 0
        self._changed = threading.Condition()
        request = cloud_session_service_pb2.WatchCloudSessionRequest(
            name=f"{customer.account}/cloudSession"
        )
        self._stream = customer.admin.cloud.WatchCloudSession(request)
        self._take(next(self._stream))
        threading.Thread(target=self._read, daemon=True).start()

    def until(self, generation: int) -> None:
        """Return when it was told of this generation."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.states[-1].generation >= generation, 20)

    def end(self) -> None:
        self._stream.cancel()

    def _read(self) -> None:
        try:
            for response in self._stream:
                self._take(response)
        except grpc.RpcError:
            return  # canceled

    def _take(self, response: cloud_session_service_pb2.WatchCloudSessionResponse) -> None:
        with self._changed:
            self.states.append(response.cloud_session)
            self.changes += response.changes
            self.missed += response.missed_count
            self._changed.notify_all()


def moved_by_all(
    world: World, customer: Customer, computers: list[Computer], turns: int
) -> list[Move]:
    """Each computer opens it so many times, all at once, as two users."""
    start = threading.Barrier(len(computers))

    def move(index: int) -> list[Move]:
        user = customer.admin if index % 2 else customer.member
        start.wait(10)
        moves = []
        for _ in range(turns):
            begun = time.monotonic()
            answer = world.open_cloud(user, customer.account, computers[index])
            moves.append(
                Move(
                    answer.cloud_session.device,
                    begun,
                    time.monotonic(),
                    answer.cloud_session.generation,
                    answer.moved_from_host_name,
                )
            )
        return moves

    with ThreadPoolExecutor(len(computers)) as pool:
        return [one for moves in pool.map(move, range(len(computers))) for one in moves]


def check(world: World, customer: Customer, new_name: Namer, moves_count: int) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    owned = [world.license(customer.account, product).name for _ in range(2)]  # copies
    computers = [world.computer(new_name("browser")) for _ in range(DEVICES)]
    watcher = Watcher(customer)
    moves = moved_by_all(world, customer, computers, moves_count // DEVICES)
    assert len(moves) == moves_count
    moves.sort(key=lambda move: move.ended)

    # Every mover had it when it was answered: it says so, and no two say so for the same generation.
    changing: dict[int, str] = {}
    for move in moves:
        assert changing.setdefault(move.generation, move.device) == move.device
    last = max(changing)
    assert sorted(changing) == list(range(1, last + 1)), "each change was somebody's"

    # What ended before another began came before it, for everyone.
    newest = 0
    by_begin = sorted(moves, key=lambda move: move.begun)
    ended = 0
    for move in by_begin:
        while moves[ended].ended < move.begun:
            newest = max(newest, moves[ended].generation)
            ended += 1
        assert move.generation >= newest

    # The last mover has it, and the license with it.
    shown = customer.member.cloud.GetCloudSession(
        cloud_session_service_pb2.GetCloudSessionRequest(name=f"{customer.account}/cloudSession")
    ).cloud_session
    assert (shown.generation, shown.device) == (last, changing[last])
    assert [one.rsplit("/activations/", 1)[0] for one in shown.activations] == owned[:1]

    # Who watched saw one holder at any time, and each move from whoever had it.
    watcher.until(last)
    watcher.end()
    told = [state.generation for state in watcher.states]
    assert told == sorted(told)
    for state in watcher.states[1:]:
        assert state.device == changing[state.generation]
        assert [one.rsplit("/activations/", 1)[0] for one in state.activations] == owned[:1]
    assert watcher.missed == 0
    holder = ""
    kinds = cloud_session_pb2.CLOUD_CHANGE_KIND_OPENED, cloud_session_pb2.CLOUD_CHANGE_KIND_MOVED
    chain = [one for one in watcher.changes if one.kind in kinds]
    assert len(chain) == last
    for generation, change in enumerate(chain, 1):
        assert change.from_device == holder
        holder = change.device
        assert holder == changing[generation]


@pytest.mark.behaviour("CLOUD-2")
@pytest.mark.behaviour("CLOUD-3")
def test_eight_devices_of_two_users_move_it_at_once_and_the_last_mover_has_it(
    world: World, customer: Customer, new_name: Namer
) -> None:
    check(world, customer, new_name, 80)


@pytest.mark.long
def test_a_thousand_moves_from_eight_devices_at_once(
    world: World, customer: Customer, new_name: Namer
) -> None:
    check(world, customer, new_name, 1_000)
