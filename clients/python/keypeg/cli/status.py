"""`keypeg status`: everything that matters on one screen.

Promises: shows what it could find out and says in a word why not what it could not; exit code 0 when
the server answered and somebody is signed in, else the code of what was in the way.

Leaves to others: finding out what is wrong (doctor.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keypeg.cli import short, when
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.exits import EXITS, Exit
from keypeg.cli.lazy import Command
from keypeg.cli.output import as_csv
from keypeg.cli.tables import colorful
from keypeg.cli.values import COLORS, entry, moment, word

if TYPE_CHECKING:
    from keypeg.cli.link import Link

Facts = dict[str, Any]


@click.command(cls=Command)
@pass_cli
async def status(cli: Cli) -> None:
    """Show everything on one screen.

    The server and who is signed in, the cloud session, licenses, pools, the
    bridge with its keys, the agent, and for what a cloud session is always
    opened without asking.

    \b
    Example:
      keypeg status
    """
    from keypeg import errors

    profile = cli.profile()
    code = Exit.OK
    facts: Facts = {
        "profile": profile.name,
        "server": {"target": profile.server, "reachable": False, "problem": ""},
        "caller": None,
        "cloud_session": None,
        "licenses": None,
        "pools": None,
        "bridge": None,
        "keys": None,
        "agent": None,
        "always_use": [],
    }
    try:
        async with cli.server(signed_in=False) as link:
            await _server(cli, link, facts)
    except errors.KeypegError as error:
        facts["server"]["problem"] = error.sentence
        facts["server"]["reachable"] = not isinstance(
            error, (errors.Unreachable, errors.TimedOut, errors.FieldInvalid)
        )
        code = EXITS[error.reason]
    await _bridge(cli, facts)
    _agent(facts)
    _launch(facts)
    _show(cli, facts)
    click.get_current_context().exit(code)


async def _server(cli: Cli, link: Link, facts: Facts) -> None:
    from keypeg import errors
    from keypeg.cli import resolve
    from keypeg.cli.login import role
    from keypeg.v1 import cloud_session_service_pb2 as cloud_pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as cloud_rpc
    from keypeg.v1 import license_pb2

    caller = await link.caller()
    facts["server"]["reachable"] = True
    facts["caller"] = {
        "login": caller.user.login,
        "display_name": caller.user.display_name,
        "role": role(caller.user),
        "account": caller.account,
    }
    if not caller.account:
        return
    try:
        cloud = await link.call(
            cloud_rpc.CloudSessionServiceStub(link.channel).GetCloudSession,
            cloud_pb.GetCloudSessionRequest(name=f"{caller.account}/cloudSession"),
        )
        facts["cloud_session"] = cloud.cloud_session
        licenses = await resolve.licenses(link, caller.account)
        usable = [one for one in licenses if one.state == license_pb2.LICENSE_STATE_ACTIVE]
        facts["licenses"] = {
            "count": len(licenses),
            "usable": len(usable),
            "activations": sum(one.activation_count for one in usable),
            "activations_used": sum(one.activations_used_count for one in usable),
        }
        facts["pools"] = await resolve.pools(link, caller.account)
    except errors.KeypegError as error:
        facts["server"]["problem"] = error.sentence


async def _bridge(cli: Cli, facts: Facts) -> None:
    from keypeg import errors
    from keypeg.v1 import key_service_pb2 as pb
    from keypeg.v1 import key_service_pb2_grpc as rpc

    target = cli.bridge_target()
    if target is None:
        return
    facts["bridge"] = {"target": target, "reachable": False, "name": "", "problems": []}
    try:
        async with cli.bridge() as bridge:
            stub = rpc.KeyServiceStub(bridge.channel)
            answer = await bridge.call(stub.ListKeys, pb.ListKeysRequest())
    except errors.KeypegError as error:
        facts["bridge"]["problems"] = [error.sentence]
        return
    facts["bridge"].update(
        reachable=True, name=answer.location_host, problems=list(answer.problems)
    )
    facts["keys"] = list(answer.keys)


def _agent(facts: Facts) -> None:
    from keypeg.discovery import agent_target

    target = agent_target()
    facts["agent"] = {"target": target} if target else None


def _launch(facts: Facts) -> None:
    from keypeg.launch_memory import Memory

    facts["always_use"] = [
        {"login": one.login, "user": one.user, "family": one.family, "place": one.place}
        for one in Memory().all()
    ]


def _show(cli: Cli, facts: Facts) -> None:
    form = cli.form
    if form in ("json", "jsonl"):
        cli.printer.item(facts, [])
        return
    told = lines(cli, facts)
    if form == "csv":
        items = [{"what": what, "how": how} for what, how, _ in told]
        click.echo(as_csv(items, [entry("WHAT", "what"), entry("HOW", "how")]))
        return
    width = max(len(what) for what, _, _ in told)
    for what, how, color in told:
        text = click.style(how, fg=color) if color and colorful() else how
        click.echo(f"{what.ljust(width)}  {text}", color=colorful())


def lines(cli: Cli, facts: Facts) -> list[tuple[str, str, str]]:
    """What is shown: title, text, color."""
    from keypeg.cli import session

    server, caller, cloud = facts["server"], facts["caller"], facts["cloud_session"]
    out: list[tuple[str, str, str]] = [("Profile", facts["profile"], "")]
    target = server["target"] or "none"
    if server["reachable"]:
        out.append(("Server", f"{target}, reachable", "green"))
    else:
        out.append(("Server", f"{target}, not reachable", "red"))
    if server["problem"]:
        out.append(("", server["problem"], "yellow"))
    if caller is not None:
        account = short.last(caller["account"]) if caller["account"] else "the publisher"
        out.append(("Signed in", f"{caller['login']} ({caller['role']}) of {account}", ""))
    else:
        out.append(("Signed in", "nobody", "yellow"))
    if cloud is not None:
        out += [_cloud(cli, cloud), ("", session.mode(cloud), "")]
    if (found := facts["licenses"]) is not None:
        out.append(
            (
                "Licenses",
                f"{found['usable']} of {found['count']} usable, "
                f"{found['activations_used']} of {found['activations']} activations used",
                "",
            )
        )
    for index, pool in enumerate(facts["pools"] or ()):
        waiting = f", {pool.waiting_count} waiting" if pool.waiting_count else ""
        text = f"{short.product(pool.product)}: {pool.held_count} of {pool.seat_count} seats held{waiting}"
        full = pool.held_count >= pool.seat_count
        out.append(("Pools" if not index else "", text, "yellow" if full else ""))
    out += _bridge_lines(facts)
    agent = facts["agent"]
    out.append(
        ("Agent", agent["target"] if agent else "none: a killed app's seats are freed by time", "")
    )
    for index, one in enumerate(facts["always_use"]):
        does = {
            "key": "activated onto a key",
            "host": "activated onto this computer",
        }.get(one["place"], "cloud session opened")
        text = f"for {short.product(one['family'])}, as {one['login']}: {does} without asking"
        out.append(("Always" if not index else "", text, ""))
    return out


def _cloud(cli: Cli, cloud: Any) -> tuple[str, str, str]:
    from keypeg import profile as profiles
    from keypeg.v1 import cloud_session_pb2

    if cloud.state != cloud_session_pb2.CLOUD_SESSION_STATE_OPEN:
        return "Cloud session", "closed", "yellow"
    here = cloud.device == profiles.device_id()
    where = "on this computer" if here else f"on {cloud.host_name or cloud.device}"
    opened = moment(cloud, "open_time")
    since = f" since {when.local(opened, cli.now())}" if opened else ""
    return "Cloud session", f"open {where}{since}", "green" if here else "yellow"


def _bridge_lines(facts: Facts) -> list[tuple[str, str, str]]:
    from keypeg.cli.key import called, licenses
    from keypeg.v1 import key_pb2

    bridge = facts["bridge"]
    if bridge is None:
        return [("Bridge", "none runs on this computer", "")]
    state = "reachable" if bridge["reachable"] else "not reachable"
    out = [("Bridge", f"{bridge['target']}, {state}", "green" if bridge["reachable"] else "red")]
    out += [("", problem, "yellow") for problem in bridge["problems"]]
    for index, key in enumerate(facts["keys"] or ()):
        state = word(key_pb2.KeyState, key.state, "KEY_STATE_")
        carried = ", ".join(map(short.product, licenses(key))) or "no licenses"
        text = f"{called(key)} {key.serial}: {state}, {carried}".replace("  ", " ")
        out.append(("Keys" if not index else "", text, COLORS.get(state, "")))
    if bridge["reachable"] and not facts["keys"]:
        out.append(("Keys", "none plugged in", ""))
    return out
