"""Channels to servers and bridges, and their errors as ours.

Promises: a channel is TLS or a Unix socket, nothing else, so that a token never travels in the clear;
several addresses of one service make one channel that spreads calls and passes over dead servers; an
error of a call becomes the KeypegError of its reason, never a text to compare.

Leaves to others: which address, which token (profile, discovery), and what to call.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from typing import Final

import grpc
import grpc.aio

from keypeg import errors, status

MESSAGE_SIZE: Final = 1 << 20  # bytes; the largest answer is a page of 1,000 small resources
KEEPALIVE_TIME: Final = 30_000  # ms; a quiet connection is found dead, a busy one is not asked
KEEPALIVE_TIMEOUT: Final = 10_000  # ms
RECONNECT_BACKOFF: Final = 2_000  # ms at most between attempts of the channel itself

# Every unary call repeats safely: reads change nothing, mutations carry a request id. A session's
# stream is never repeated by the channel: the session itself knows how to go on.
_RETRY: Final = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_STREAMS: Final = (
    {"service": "keypeg.v1.SessionService", "method": "HoldSession"},
    {"service": "keypeg.v1.AgentService", "method": "WatchProcess"},
)


def service_config(*, several: bool) -> str:
    """How the channel spreads and repeats calls, as gRPC takes it."""
    policy = "round_robin" if several else "pick_first"
    return json.dumps(
        {
            "loadBalancingConfig": [{policy: {}}],
            "methodConfig": [{"name": [{}], "retryPolicy": _RETRY}, {"name": list(_STREAMS)}],
        }
    )


def connect(
    target: str,
    *,
    ca: bytes | None = None,
    token: str | None = None,
    server_name: str | None = None,
) -> grpc.aio.Channel:
    """A channel to `host:port` (several separated by commas) over TLS, or to `unix:/path`.

    `ca` are PEM certificates to trust instead of the system's. `token` goes with every call. The
    certificate must be for `server_name`, else for the first host. Names of several addresses are
    looked up here, once. Nothing is sent yet: the first call connects.
    """
    if not target.strip():
        raise errors.FieldInvalid(
            "No server is named; set KEYPEG_SERVER to host:port, or sign in with `keypeg login`.",
            field="server",
        )
    if target.startswith("unix:"):
        return _unix_channel(target, token)
    addresses = [_address(part) for part in target.split(",") if part.strip()]
    name = server_name or addresses[0][0]
    credentials = grpc.ssl_channel_credentials(root_certificates=ca)
    if token:
        credentials = grpc.composite_channel_credentials(
            credentials, grpc.access_token_call_credentials(token)
        )
    options = [*_options(several=len(addresses) > 1)]
    if len(addresses) > 1 or server_name:
        options += [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
    return grpc.aio.secure_channel(_grpc_target(addresses), credentials, options=options)


def translate(error: grpc.RpcError | grpc.aio.AioRpcError) -> errors.KeypegError:
    """The error of a call as the error of its reason."""
    code = _code(error)
    text = str(getattr(error, "details", lambda: "")() or "")
    metadata = getattr(error, "trailing_metadata", lambda: None)()
    return status.from_trailing_metadata(metadata) or from_code(code, text)


def from_code(code: grpc.StatusCode, text: str) -> errors.KeypegError:
    """The error for a status without our details: made by gRPC itself, or by something in between."""
    name = code.name
    said = f" ({text})" if text else ""
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return errors.Unreachable(
                f"The other side can not be reached{said}; check its address, and that it runs.",
                code=name,
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.TimedOut(f"The other side did not answer in time{said}.", code=name)
        case grpc.StatusCode.UNIMPLEMENTED:
            return errors.ProtocolUnsupported(
                f"The other side does not serve this call{said}; is it a keypeg server of this "
                "version?",
                code=name,
            )
        case grpc.StatusCode.UNAUTHENTICATED:
            return errors.SignInRequired(f"Sign in first{said}.", code=name)
        case grpc.StatusCode.PERMISSION_DENIED:
            return errors.PermissionDenied(f"This may not be done{said}.", code=name)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return errors.Busy(f"The other side has too much to do{said}.", code=name)
        case _:
            return errors.Internal(f"The call failed with {name}{said}.", code=name)


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    code = getattr(error, "code", lambda: None)()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def _unix_channel(target: str, token: str | None) -> grpc.aio.Channel:
    options = [*_options(several=False), ("grpc.default_authority", "localhost")]
    if not token:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.composite_channel_credentials(
        grpc.local_channel_credentials(grpc.LocalConnectionType.UDS),
        grpc.access_token_call_credentials(token),
    )
    return grpc.aio.secure_channel(target, credentials, options=options)


def _options(*, several: bool) -> list[tuple[str, str | int]]:
    return [
        ("grpc.service_config", service_config(several=several)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_BACKOFF),
        ("grpc.max_receive_message_length", MESSAGE_SIZE),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]


def _address(part: str) -> tuple[str, int]:
    text = part.strip()
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise errors.FieldInvalid(
            f"{text!r} is no server address; write host:port, several separated by commas.",
            field="server",
        )
    return host, int(port)


def _grpc_target(addresses: list[tuple[str, int]]) -> str:
    if len(addresses) == 1:
        host, port = addresses[0]
        return f"dns:///[{host}]:{port}" if ":" in host else f"dns:///{host}:{port}"
    numbers = [number for host, port in addresses for number in _numbers(host, port)]
    if all(version == 4 for version, _ in numbers):
        return "ipv4:" + ",".join(text for _, text in numbers)
    mapped = [
        text if version == 6 else f"[::ffff:{text.rpartition(':')[0]}]:{text.rpartition(':')[2]}"
        for version, text in numbers
    ]
    return "ipv6:" + ",".join(mapped)


def _numbers(host: str, port: int) -> list[tuple[int, str]]:
    try:
        addresses = {ipaddress.ip_address(host)}
    except ValueError:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise errors.Unreachable(f"The name {host} has no address ({error}).") from error
        addresses = {ipaddress.ip_address(entry[4][0]) for entry in found}
    return [
        (number.version, f"[{number}]:{port}" if number.version == 6 else f"{number}:{port}")
        for number in sorted(addresses, key=lambda a: (a.version, int(a)))
    ]
