"""`keypeg version`: the versions that a report of a problem needs."""

from __future__ import annotations

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.values import entry


def versions() -> dict[str, str]:
    """This program and what it stands on; nothing is imported to find out."""
    import platform
    from importlib import metadata

    from keypeg._version import __version__

    found = {"keypeg": __version__, "python": platform.python_version()}
    for package in ("grpcio", "protobuf", "cryptography", "click", "rich"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found | {"platform": platform.platform()}


@click.command(cls=Command)
@pass_cli
def version(cli: Cli) -> None:
    """Show the versions of this program and of what it stands on.

    \b
    Example:
      keypeg version -o json
    """
    found = versions()
    cli.printer.item(found, [entry(name, name) for name in found])
