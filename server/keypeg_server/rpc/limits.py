"""The options of the gRPC server: limits, and how connections are kept.

Promises: every option that differs from the library's default stands here, with its reason.

Leaves to others: the values that can be set (settings).
"""

from __future__ import annotations

from typing import Final

Options = list[tuple[str, int]]

# A client behind a router that forgets idle connections pings every 10 s or more; the library's default
# (5 minutes) would end its connection for that.
PING_INTERVAL_MS: Final = 5_000
# Finds connections whose other end vanished without a word; sessions have their own, longer deadlines.
KEEPALIVE_MS: Final = 60_000
KEEPALIVE_TIMEOUT_MS: Final = 20_000
# Who connects and does not begin costs 22 KiB; the library's default lets them for two minutes.
HANDSHAKE_TIMEOUT_MS: Final = 20_000

READ_AHEAD_BYTES: Final = 4_096  # some seventy frames of a session
PIECE_BYTES: Final = 65_536


def options(*, max_message_bytes: int, max_concurrent_streams: int, max_pending: int) -> Options:
    """What the server is made with."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_concurrent_streams", max_concurrent_streams),
        ("grpc.server.max_pending_requests", max_pending),
        ("grpc.server.max_pending_requests_hard_limit", max_pending),
        # A second server on the same port must fail, not share it.
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
        # Nobody has much to send here: what one stream may send ahead of being read is this, for a longer message the
        # message, instead of growing to megabytes with how fast it is sent.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", READ_AHEAD_BYTES),
        # One connection is read in pieces, between which others have their turn; by default they grow to 4 MiB.
        ("grpc.experimental.tcp_max_read_chunk_size", PIECE_BYTES),
    ]
