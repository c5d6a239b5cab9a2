"""What a stranger learns from the time of an answer: of what is another account's, beside what is not there.

Promises: both calls come in turn, on one connection, the first of each pair by chance; each must be refused as what is
not there, or it is no number. Calls are paced, for who is refused without end waits. A ratio of medians says how far
apart the two are; the share of pairs in which the first took longer says how often one try tells them apart: 0.5 is never.

Leaves to others: that both do the same work (tests/system/test_alike.py).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc

from benchmarks import machine
from benchmarks.loads import LoadError
from benchmarks.report import Found, Goal, markdown
from benchmarks.suite import Given
from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import account_service_pb2 as accounts_pb
from keypeg.v1 import activation_service_pb2 as activations_pb
from keypeg.v1 import cloud_session_service_pb2 as cloud_pb
from keypeg.v1 import license_service_pb2 as licenses_pb
from keypeg.v1 import seat_service_pb2 as seats_pb
from lab.world import ADMIN, CLOUD, MEMBER, SITE, Api, World, request_id

PAIRS: Final = 400  # of each method in a round
QUICK_PAIRS: Final = 4
GUESSES: Final = 40  # pairs, in all: a place has a hundred wrong passwords
QUICK_GUESSES: Final = 3
PACE: Final = 1 / 80  # seconds from one refusal to the next: fewer than are answered at once
GUESS_PACE: Final = 0.2
PERCENT: Final = 5.0

Call = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """A call of something that is another's, and of something that is not there."""

    theirs: Call
    nowhere: Call
    reason: Reason = Reason.NOT_FOUND


def alike(given: Given) -> Found:
    """Measure it."""
    pairs = QUICK_PAIRS if given.quick else PAIRS
    guesses = QUICK_GUESSES if given.quick else GUESSES
    rng = random.Random(11)
    with given.lab("alike") as lab:
        with machine.pinned(given.cores.server):
            world = World(lab, passwords="")
        api, methods, logins = _scene(world, guesses)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        with machine.pinned(given.cores.load):
            for number in range(given.plan.rounds):
                given.say(f"round {number + 1}")
                for name, pair in methods.items():
                    times[name] += [_timed(rng, pair, PACE) for _ in range(pairs)]
            given.say("guessed passwords")
            times["SignIn, wrong password or unknown login"] = [
                _timed(rng, pair, GUESS_PACE) for pair in logins
            ]
        api.close()
    return _found(times)


def _scene(world: World, guesses: int) -> tuple[Api, Mapping[str, Pair], list[Pair]]:
    """What there is of another account, and who asks for it."""
    cloud, site = (
        world.product("cad", locations=[CLOUD]),
        world.product("solver", locations=[SITE]),
    )
    known = {f"known-{number}": MEMBER for number in range(guesses)}
    theirs = world.account("theirs", {"ada": MEMBER, **known})
    world.account("mine", {"eve": ADMIN})
    license_ = world.license(theirs, cloud).name
    pool = world.seats(theirs, site, 5)
    user, session = f"{theirs}/users/ada", f"{theirs}/cloudSession"
    api = world.sign_in("eve")
    asked: dict[str, tuple[str, Callable[[str], object]]] = {
        "GetLicense": (
            license_,
            lambda name: api.licenses.GetLicense(licenses_pb.GetLicenseRequest(name=name)),
        ),
        "ListLicenses": (
            theirs,
            lambda name: api.licenses.ListLicenses(licenses_pb.ListLicensesRequest(parent=name)),
        ),
        "ListActivations": (
            license_,
            lambda name: api.activations.ListActivations(
                activations_pb.ListActivationsRequest(parent=name)
            ),
        ),
        "DeleteUser": (
            user,
            lambda name: api.accounts.DeleteUser(
                accounts_pb.DeleteUserRequest(name=name, request_id=request_id())
            ),
        ),
        "GetCloudSession": (
            session,
            lambda name: api.cloud.GetCloudSession(cloud_pb.GetCloudSessionRequest(name=name)),
        ),
        "GetPool": (pool, lambda name: api.seats.GetPool(seats_pb.GetPoolRequest(name=name))),
        "ListLeases": (
            pool,
            lambda name: api.seats.ListLeases(seats_pb.ListLeasesRequest(parent=name)),
        ),
    }
    methods = {
        method: Pair(partial(call, theirs), partial(call, _not_there(theirs)))
        for method, (theirs, call) in asked.items()
    }
    guest = Api(world.address, world.ca_file.read_bytes())
    logins = [
        Pair(
            partial(_guess, guest, f"known-{number}"),
            partial(_guess, guest, f"other-{number}"),
            Reason.CREDENTIALS_INVALID,
        )
        for number in range(guesses)
    ]
    return api, methods, logins


def _not_there(name: str) -> str:
    """A name of the same length that nothing has."""
    if name.startswith("pools/"):
        return name[:-1] + ("0" if name[-1] != "0" else "1")
    return name.replace("/theirs", "/nobody")


def _guess(guest: Api, login: str) -> object:
    request = accounts_pb.SignInRequest(login=login, password="not the password")
    return guest.accounts.SignIn(request)


def _timed(rng: random.Random, pair: Pair, pace: float) -> tuple[float, float]:
    """Milliseconds of both, of theirs first."""
    took: dict[Call, float] = {}
    for call in rng.sample((pair.theirs, pair.nowhere), 2):
        begun = time.monotonic()
        try:
            call()
        except grpc.RpcError as error:
            took[call] = (time.monotonic() - begun) * 1e3
            if translate(error).reason is not pair.reason:
                raise
        else:
            raise LoadError(f"{call} was answered")
        time.sleep(max(0.0, begun + pace - time.monotonic()))
    return took[pair.theirs], took[pair.nowhere]


def _found(times: Mapping[str, list[tuple[float, float]]]) -> Found:
    rows = [("method", "of another, ms", "not there, ms", "ratio", "of another took longer")]
    data: dict[str, dict[str, float]] = {}
    for method, pairs in times.items():
        theirs = statistics.median(first for first, _ in pairs)
        nowhere = statistics.median(second for _, second in pairs)
        longer = sum(first > second for first, second in pairs) / len(pairs)
        ratio = theirs / nowhere
        rows.append((method, f"{theirs:.3f}", f"{nowhere:.3f}", f"{ratio:.3f}", f"{longer:.2f}"))
        data[method] = {
            "theirs_ms": round(theirs, 4),
            "nowhere_ms": round(nowhere, 4),
            "ratio": round(ratio, 4),
            "longer": round(longer, 4),
            "pairs": len(pairs),
        }
    furthest = max(abs(one["ratio"] - 1) for one in data.values())
    goals = (
        Goal(
            "percent between both medians, the furthest method",
            PERCENT,
            round(furthest * 100, 2),
            at_most=True,
        ),
    )
    return Found("What is another's beside what is not there", tuple(markdown(rows)), data, goals)
