"""How much may be asked for, and what a password costs to check."""

from __future__ import annotations

from dataclasses import dataclass

from keypeg.settings_reading import setting


@dataclass(frozen=True)
class Limits:
    """How much one client, or all together, may ask for."""

    max_message_bytes: int = setting(
        262_144,
        "The largest message that is read. The largest legitimate one is a signed document of 64 KiB "
        "with its delegation.",
        low=65_536,
        high=4_194_304,
    )
    max_concurrent_streams: int = setting(
        4_096,
        "Streams and calls at once on one connection: an agent or a bridge multiplexes many apps.",
        low=16,
        high=1_000_000,
    )
    max_pending_requests: int = setting(
        100_000,
        "Calls that wait to be accepted. The library's own 1,000 drops part of a burst, for example when "
        "every client reconnects after a restart.",
        low=1_000,
        high=10_000_000,
    )
    open_files: int = setting(
        65_536,
        "Raises the process's limit of open files to this, as far as the system lets it: one connection "
        "takes one.",
        low=1_024,
        high=1_048_576,
    )
    queue_length: int = setting(
        10_000,
        "Places in the queue of one pool; whoever comes after them is refused with QUEUE_FULL. A longer "
        "queue is one that nobody waits out.",
        low=1,
        high=1_000_000,
    )
    user_queue_places: int = setting(
        2_000,
        "Places of one user in the queue of one pool; more are refused with QUEUE_FULL, so that nobody fills "
        "it alone. Programs that run under one login share them.",
        low=1,
        high=1_000_000,
    )
    user_calls: int = setting(
        2_000,
        "Calls of one user in a second; ten times as many in a burst. More are refused with LIMIT_EXCEEDED and "
        "when to come again. Seats on a stream are no calls.",
        low=10,
        high=1_000_000,
    )
    user_frames: int = setting(
        500,
        "Frames of one user in a second, of streams that send more than two each in it; a twentieth as many in a burst. More are "
        "not refused: the streams are read no faster. An app at rest sends one or two a minute.",
        low=100,
        high=10_000_000,
    )
    user_openings: int = setting(
        100,
        "New sessions of one user in a second; a tenth as many in a burst. More wait for those before them, and who would wait "
        "for 5 s is refused with LIMIT_EXCEEDED and when to come again. Sessions that are resumed do not count.",
        low=1,
        high=1_000_000,
    )
    user_streams: int = setting(
        20_000,
        "Streams of one user at once: sessions of apps, and watchers; more are refused with LIMIT_EXCEEDED. Each "
        "takes some 28 KiB. Programs that run under one login share them.",
        low=10,
        high=1_000_000,
    )
    session_holdings: int = setting(
        100,
        "Leases and queue places of one session: one app's seats, not everyone's.",
        low=1,
        high=10_000,
    )
    session_unread_frames: int = setting(
        256,
        "Frames that wait for an app that does not read; more end its stream. A few times what an app "
        "with all its seats is told at once.",
        low=16,
        high=65_536,
    )
    pending_operations: int = setting(
        10_000,
        "Requests for seats that wait for the disk; more are refused with BUSY at once, instead of "
        "waiting longer than their callers do.",
        low=100,
        high=1_000_000,
    )
    sign_ins_at_once: int = setting(
        2,
        "Passwords that are checked at the same time; each takes the memory of `passwords.memory_kib` and a "
        "core, or what others leave of it.",
        low=1,
        high=64,
    )
    sign_ins_waiting: int = setting(
        256,
        "Sign-ins that wait for that; more are refused with BUSY, so that guessing cannot pile up work. Who signed in from "
        "the same address before has as many places apart.",
        low=1,
        high=100_000,
    )


@dataclass(frozen=True)
class Passwords:
    """What a password costs to check (Argon2id, RFC 9106); kept with each password, so it can be raised."""

    memory_kib: int = setting(
        65_536, "Memory in KiB; RFC 9106's second recommendation.", low=8, high=4_194_304
    )
    iterations: int = setting(3, "Passes over that memory.", low=1, high=100)
    lanes: int = setting(4, "Lanes.", low=1, high=64)
