"""A client of keypegd that journals what it believes: seats on a session's stream, or by unary calls.

Promises: whenever it believes that it holds a seat, it says so about every 50 ms with the time until which it may;
the time of such a line is read before the belief is asked for, so that the line is true whenever the process was
stopped. It says that it gives a seat back before it begins to. It ends with SIGTERM, or with who started it.

    python -m seatchecker.client --kind stream --journal FILE --seed 7 --product P --root HEX --pool POOL
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from seatchecker.journal import Ending, Journal
from seatchecker.stream_client import StreamClient
from seatchecker.unary_client import UnaryClient


async def play(options: argparse.Namespace) -> None:
    """The whole life of the client."""
    journal, ending = Journal(options.journal), Ending()
    ending.listen()
    journal.write("started", kind=options.kind, device=os.environ["KEYPEG_DEVICE"])
    made = (StreamClient if options.kind == "stream" else UnaryClient)(options, journal, ending)
    await made.run()
    journal.write("ended")


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="A client that journals what it believes.")
    parser.add_argument("--kind", choices=["stream", "unary"], required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--product", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--grant", type=float, required=True)
    parser.add_argument("--ttl", type=int, default=10)
    asyncio.run(play(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
