"""The floor of the stack: a server on grpc.aio that does nothing with what it parses.

Promises: the same library, event loop, TLS, channel options and garbage collector settings as keypegd, and
the same kinds of messages; only keypegd's own work is missing. `Echo` gives each frame of a stream back,
`Nothing` the message of a unary call.

Leaves to others: asking it (load/, python_load.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

from keypeg.v1.seat_service_pb2 import AcquireSeatRequest
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg_server import tls
from keypeg_server.garbage import Garbage
from keypeg_server.rpc import limits
from keypeg_server.settings import Limits

SERVICE: Final = "keypeg.bench.Floor"


async def echo(
    frames: AsyncIterator[HoldSessionRequest], _: Any
) -> AsyncIterator[HoldSessionRequest]:
    """Give every frame back."""
    async for frame in frames:
        yield frame


async def nothing(request: AcquireSeatRequest, _: Any) -> AcquireSeatRequest:
    """Give the message back."""
    return request


def options() -> limits.Options:
    """keypegd's own, with the defaults of its settings."""
    defaults = Limits()
    return limits.options(
        max_message_bytes=defaults.max_message_bytes,
        max_concurrent_streams=defaults.max_concurrent_streams,
        max_pending=defaults.max_pending_requests,
    )


async def serve(folder: Path, ready_file: Path) -> None:
    """Serve until SIGTERM; says where in the ready file."""
    identity = tls.development_identity(folder, (), datetime.now(UTC))
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Echo": grpc.stream_stream_rpc_method_handler(
            echo,
            request_deserializer=HoldSessionRequest.FromString,
            response_serializer=HoldSessionRequest.SerializeToString,
        ),
        "Nothing": grpc.unary_unary_rpc_method_handler(
            nothing,
            request_deserializer=AcquireSeatRequest.FromString,
            response_serializer=AcquireSeatRequest.SerializeToString,
        ),
    }
    server = grpc.aio.server(options=options())
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    credentials = grpc.ssl_server_credentials([(identity.key, identity.chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    garbage = Garbage()  # as keypegd has it
    garbage.begin()
    looking = asyncio.create_task(garbage.run())
    partial = ready_file.with_suffix(".partial")
    partial.write_text(
        json.dumps(
            {
                "address": f"127.0.0.1:{port}",
                "ca_file": str(identity.ca_file),
                "pid": os.getpid(),
            }
        )
    )
    partial.replace(ready_file)
    await stopped.wait()
    looking.cancel()
    await server.stop(grace=None)


def main() -> None:
    """Serve with what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for its certificate")
    parser.add_argument("--ready-file", type=Path, required=True)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.folder, arguments.ready_file))


if __name__ == "__main__":
    main()
