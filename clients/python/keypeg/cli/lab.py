"""`keypeg key lab`: emulated keys and a bridge that run in the background, and everything that can go wrong with them.

Promises: `start` returns when an app can use the keys, and prints where they are; nothing here touches real keys or another
laboratory; what is missing is named with the command that installs it.

Leaves to others: what is shown (lab_shown.py), the laboratory itself (keypeg.testing.lab), and what faults do (docs/labs.md).
"""

from __future__ import annotations

from pathlib import Path

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lab_shown import (
    FAULT,
    HISTORY,
    KEYS,
    LAB,
    LICENSE,
    assignment,
    folder_of,
    folder_option,
    found,
    key_option,
    named,
    sentences,
    told_of,
)
from keypeg.cli.lazy import Group


@click.group("lab", cls=Group)
def lab_group() -> None:
    """Emulated keys for tests: with a bridge, and with faults on command.

    What goes wrong, and how, is in docs/labs.md.

    \b
    Example:
      keypeg key lab start --keys 2
      keypeg key lab fault stall --key key-1 seconds=5
    """


@lab_group.command("start")
@folder_option
@click.option("--keys", type=click.IntRange(1, 24), default=1, show_default=True, help="How many keys.")  # fmt: skip
@click.option("--profile", "kind", type=click.Choice(["token", "token-3des", "standard"]), default="token", show_default=True, help="Which kind of key.")  # fmt: skip
@click.option("--touch", type=click.Choice(["always", "never", "command"]), default="always", show_default=True, help="When they are touched.")  # fmt: skip
@click.option("--seed", metavar="TEXT", help="Makes new keys, and what faults draw, repeatable.")
@click.option("--script", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Faults by the clock, TOML.")  # fmt: skip
@click.option("--drivers", metavar="NAMES", default="", help="How the bridge uses them: piv, smartkey, fido2.")  # fmt: skip
@pass_cli
def start(
    cli: Cli,
    folder: Path | None,
    keys: int,
    kind: str,
    touch: str,
    seed: str | None,
    script: Path | None,
    drivers: str,
) -> None:
    """Start emulated keys and a bridge; prints the bridge to point apps at.

    They run until `keypeg key lab stop`. The keys' contents stay for the
    next time.

    \b
    Example:
      keypeg key lab start --seed 7
      export KEYPEG_BRIDGE=$(keypeg -o json key lab status | jq -r .bridge)
    """
    from keypeg.testing import lab_kept
    from keypeg.testing.lab import KeyLab

    where = folder_of(folder)
    with sentences():
        lab_kept.free(where)
        lab = KeyLab(
            where,
            keys=keys,
            profile=kind,
            touch=touch,
            seed=seed,
            script=script,
            drivers=drivers,
            publisher=lab_kept.publisher(where),
        ).start()
        lab_kept.keep(where, lab)
    cli.printer.item(told_of(lab, where), LAB)
    cli.printer.note(f"Apps find the keys with KEYPEG_BRIDGE={lab.bridge}")


@lab_group.command("status")
@folder_option
@pass_cli
def status(cli: Cli, folder: Path | None) -> None:
    """Show the laboratory: its address, its keys, what is wrong with them.

    \b
    Example:
      keypeg key lab status
    """
    where = folder_of(folder)
    with found(where) as lab:
        told = lab.ask("status")
        faults = lab.faults
        facts = told_of(lab, where)
    keys = [
        {**one, "faults": [fault for fault in faults if fault["key"] == one["key"]]}
        for one in told["keys"]
    ]
    if cli.form in ("json", "jsonl"):
        cli.printer.item({**facts, "keys": keys, "script": told["script"]}, LAB)
        return
    if cli.form == "table":
        cli.printer.item(facts, LAB)
    cli.printer.listing(keys, KEYS)
    script = told["script"]
    if script["running"]:
        cli.printer.note(f"A script runs from seed {script['seed']}; {script['done']} faults done.")


@lab_group.command("stop")
@folder_option
@pass_cli
def stop(cli: Cli, folder: Path | None) -> None:
    """End the keys and the bridge; their contents stay.

    \b
    Example:
      keypeg key lab stop
    """
    from keypeg.testing import lab_kept

    with sentences():
        lab_kept.forget(folder_of(folder))
    cli.printer.note("The laboratory has ended.")


@lab_group.command("license")
@click.argument("product")
@folder_option
@key_option
@pass_cli
def license_key(cli: Cli, product: str, folder: Path | None, key: str | None) -> None:
    """Put a license for PRODUCT on a key, signed by the laboratory.

    Apps accept it that pin the laboratory's root, which is printed. For
    licenses of a server, use `keypeg key enroll` and `keypeg activation
    create`, with a server that allows emulated keys.

    \b
    Example:
      keypeg key lab license wave-editor
    """
    with found(folder_of(folder)) as lab:
        lab.key(key or "key-1").license(product)
        facts = {"key": key or "key-1", "product": product, "root": lab.root.hex()}
    cli.printer.item(facts, LICENSE)


@lab_group.command("plug")
@click.argument("key", required=False)
@folder_option
@pass_cli
def plug(cli: Cli, key: str | None, folder: Path | None) -> None:
    """Put a key in.

    \b
    Example:
      keypeg key lab plug key-1
    """
    with found(folder_of(folder)) as lab:
        lab.ask("plug", **named(key))
    cli.printer.note("The key is in.")


@lab_group.command("unplug")
@click.argument("key", required=False)
@click.option("--for", "seconds", type=float, metavar="SECONDS", help="Put it back after so long.")
@folder_option
@pass_cli
def unplug(cli: Cli, key: str | None, seconds: float | None, folder: Path | None) -> None:
    """Pull a key out.

    \b
    Example:
      keypeg key lab unplug --for 2
    """
    for_time = {} if seconds is None else {"seconds": seconds}
    with found(folder_of(folder)) as lab:
        lab.ask("unplug", **named(key), **for_time)
    cli.printer.note("The key is out.")


@lab_group.command("touch")
@click.argument("key", required=False)
@folder_option
@pass_cli
def touch(cli: Cli, key: str | None, folder: Path | None) -> None:
    """Put the finger on a key that was started with --touch command.

    \b
    Example:
      keypeg key lab touch
    """
    with found(folder_of(folder)) as lab:
        lab.ask("touch", **named(key))
    cli.printer.note("The key was touched.")


@lab_group.command("fault")
@click.argument("kind")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@key_option
@folder_option
@pass_cli
def fault(
    cli: Cli, kind: str, values: tuple[str, ...], key: str | None, folder: Path | None
) -> None:
    """Make something go wrong with a key: KIND with its parameters.

    Without an end (seconds, count) it lasts until `keypeg key lab clear`.

    \b
    Examples:
      keypeg key lab fault stall seconds=5
      keypeg key lab fault slow delay=0.5 count=3 --key key-2
      keypeg key lab fault clone mode=forged swap=true
    """
    given = dict(map(assignment, values))
    with found(folder_of(folder)) as lab:
        begun = lab.ask("fault", **{**given, **named(key), "fault": kind})["fault"]
    cli.printer.item(begun, FAULT)


@lab_group.command("clear")
@click.argument("number", type=int, required=False)
@key_option
@folder_option
@pass_cli
def clear(cli: Cli, number: int | None, key: str | None, folder: Path | None) -> None:
    """End one fault by its number, those of a key, or all.

    \b
    Example:
      keypeg key lab clear
    """
    which = {} if number is None else {"number": number}
    with found(folder_of(folder)) as lab:
        ended = lab.ask("clear", **which, **named(key))["faults"]
    cli.printer.listing(ended, FAULT, nothing="No fault was active.")


@lab_group.command("script")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--seed", metavar="TEXT", help="What the script leaves open comes from it.")
@click.option("--stop", is_flag=True, help="Begin nothing more.")
@folder_option
@pass_cli
def script(cli: Cli, file: Path | None, seed: str | None, stop: bool, folder: Path | None) -> None:
    """Run a script of faults, or stop the one that runs.

    \b
    Example:
      keypeg key lab script bad-day.toml --seed 7
    """
    if (file is None) is not stop:
        raise click.UsageError("Name a script, or give --stop.")
    with found(folder_of(folder)) as lab:
        if file is None:
            lab.ask("script", stop=True)
            cli.printer.note("The script has stopped; faults that have begun stay.")
            return
        told = lab.script(file, seed)
    cli.printer.note(f"The script runs from seed {told['seed']}.")


@lab_group.command("history")
@folder_option
@pass_cli
def history(cli: Cli, folder: Path | None) -> None:
    """List what was done to the keys since they were started.

    \b
    Example:
      keypeg key lab history -o jsonl
    """
    with found(folder_of(folder)) as lab:
        told = lab.history
    cli.printer.listing(told, HISTORY, nothing="Nothing was done to the keys.")
