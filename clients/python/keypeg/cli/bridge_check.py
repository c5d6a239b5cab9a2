"""`keypeg doctor` on this computer's bridge: the keys on it, and whether it notices that an app died.

Promises: nothing is changed; every wait is bounded.

Leaves to others: the other checks (doctor), connections (probe).
"""

from __future__ import annotations

from keypeg.cli import probe
from keypeg.cli.context import Cli
from keypeg.cli.health import Check, Verdict


async def checks(cli: Cli) -> list[Check]:
    """The bridge answers, and so do the keys."""
    from keypeg import errors
    from keypeg.discovery import bridge_socket
    from keypeg.v1 import key_pb2
    from keypeg.v1 import key_service_pb2 as pb
    from keypeg.v1 import key_service_pb2_grpc as rpc

    try:
        target = cli.bridge_target()
    except errors.FieldInvalid:
        return [Check("Bridge", Verdict.SKIPPED, "no profile")]
    if target is None:
        return [Check("Bridge", Verdict.SKIPPED, f"none runs here (no socket {bridge_socket()})")]
    try:
        async with cli.bridge() as bridge:
            stub = rpc.KeyServiceStub(bridge.channel)
            answer = await bridge.call(stub.ListKeys, pb.ListKeysRequest())
    except errors.KeypegError as error:
        return [
            Check(
                "Bridge",
                Verdict.FAILED,
                error.sentence,
                "Start keypeg-bridge, or correct KEYPEG_BRIDGE or --bridge.",
            )
        ]
    out = [Check("Bridge", Verdict.OK, f"{target} ({answer.location_host})")]
    out += [
        Check("Keys", Verdict.FAILED, problem, "See the log of keypeg-bridge.")
        for problem in answer.problems
    ]
    for key in answer.keys:
        faulty = key.state == key_pb2.KEY_STATE_FAULTY
        out.append(
            Check(
                f"Key {key.model} {key.serial}".strip(),
                Verdict.FAILED if faulty else Verdict.OK,
                key.fault or "answers",
                "Unplug it and plug it in again; try another port." if faulty else "",
            )
        )
    return out


def agent() -> Check:
    """Whether something on this computer would notice that an app died."""
    from keypeg.discovery import agent_target

    target = agent_target()
    if target is None:
        return Check(
            "Agent",
            Verdict.WARNING,
            "none: seats of a killed app are freed by time only",
            "Start keypeg-bridge, or start apps with: keypeg run -- CMD",
        )
    path = target.removeprefix("unix:")
    problem = probe.socket_problem(path) if path != target else ""
    if problem:
        return Check(
            "Agent",
            Verdict.FAILED,
            f"{target}: {problem}",
            "Start keypeg-bridge, or unset KEYPEG_AGENT.",
        )
    return Check("Agent", Verdict.OK, target)
