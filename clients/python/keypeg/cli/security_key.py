"""A security key at this computer, and what it is asked for by the command line, which is its own WebAuthn client.

Promises: a key is only asked for passkeys of a name that the called server has: a server cannot get an answer that is
good at another one. clientDataJSON says `https://HOST:PORT` of the server as its origin. PINs are asked for before the key
is, and go nowhere else. Whatever the key does, a ceremony ends by its time.

Leaves to others: finding keys and speaking CTAP (python-fido2), keys over USB/IP (keypeg-bridge), the server (passkeys.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from fido2.client import ClientError, DefaultClientDataCollector, Fido2Client, UserInteraction
from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin
from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor
from fido2.rpid import verify_rp_id

from keypeg import errors, servers

T = TypeVar("T")
REPORT_BYTES: Final = 64
REPORT_SECONDS: Final = (
    10.0  # between two reports of a key that works on something: it sends them all the time
)
END_SECONDS: Final = 3.0  # for a helper program to end
_ERR: Final = CtapError.ERR

_REFUSALS: Final[dict[CtapError.ERR, Callable[[], errors.KeypegError]]] = {
    _ERR.CREDENTIAL_EXCLUDED: lambda: errors.AlreadyExists(
        "This security key has a passkey of yours already; use another one."
    ),
    _ERR.NO_CREDENTIALS: lambda: errors.NotFound(
        "This security key has no passkey for this server; use another one, or sign in otherwise."
    ),
    _ERR.PIN_INVALID: lambda: errors.KeyAuthorizationFailed(
        "The PIN is wrong; after eight wrong ones in all the security key is blocked."
    ),
    _ERR.PIN_AUTH_BLOCKED: lambda: errors.KeyAuthorizationFailed(
        "Too many wrong PINs in a row; take the security key out, put it in again, and try once more."
    ),
    _ERR.PIN_BLOCKED: lambda: errors.KeyAuthorizationFailed(
        "The security key is blocked by wrong PINs; only a reset helps, which removes all of its passkeys."
    ),
    _ERR.KEY_STORE_FULL: lambda: errors.KeyFull(
        "The security key has no room for another passkey; remove one with its maker's tool."
    ),
    _ERR.OPERATION_DENIED: lambda: errors.KeyFaulty("The security key refused."),
    _ERR.UNSUPPORTED_ALGORITHM: lambda: errors.KeyUnsuitable(
        "The security key has neither ES256 nor EdDSA, which this server takes."
    ),
}


class Asked(UserInteraction):
    """What a person is asked for: a PIN, which is known by now, and a touch."""

    def __init__(self, pin: str, note: Callable[[str], None]) -> None:
        self._pin = pin
        self._note = note

    def prompt_up(self) -> None:
        self._note("Touch the security key.")

    def request_pin(self, permissions: object, rp_id: str | None) -> str | None:
        return self._pin or None


class SecurityKey:
    """One key that is open."""

    def __init__(self, device: CtapHidDevice) -> None:
        self.device: Final = device
        try:
            self._options = Ctap2(device).get_info().options
        except (CtapError, ValueError) as error:
            raise errors.KeyUnsuitable(
                "The security key speaks only U2F; passkeys need FIDO2."
            ) from error

    def needs_pin(self, *, verified: bool) -> bool:
        """Whether it wants its PIN, where its user has to be `verified`; KeyUnsuitable when it cannot do that."""
        options = self._options
        if not verified and not options.get("alwaysUv"):
            return False
        if options.get("uv"):
            return False  # a fingerprint
        if not options.get("clientPin"):
            raise errors.KeyUnsuitable(
                "The security key has no PIN. Set one with its maker's tool, or the system's settings, and begin again."
            )
        return True

    def client(self, origin: str, pin: str, note: Callable[[str], None]) -> Fido2Client:
        """A client of WebAuthn with this key."""
        return Fido2Client(self.device, DefaultClientDataCollector(origin), Asked(pin, note))

    def set_pin(self, pin: str) -> None:
        """Give a new key its PIN."""
        ClientPin(Ctap2(self.device)).set_pin(pin)


class PipeConnection(CtapHidConnection):
    """A key that a program of keypeg-bridge passes reports of."""

    def __init__(self, way: str) -> None:
        self._program = subprocess.Popen(  # noqa: S603 - our own program; an address is all that is given
            [sys.executable, "-m", "keypeg_bridge.report_pipe", way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._to, self._from = self._program.stdin.fileno(), self._program.stdout.fileno()

    def write_packet(self, data: bytes) -> None:
        try:
            os.write(self._to, data)
        except BrokenPipeError as error:
            raise self._over() from error

    def read_packet(self) -> bytes:
        report = b""
        while len(report) < REPORT_BYTES:
            if not select.select([self._from], [], [], REPORT_SECONDS)[0]:
                raise errors.KeyFaulty("The security key does not answer; plug it in again.")
            more = os.read(self._from, REPORT_BYTES - len(report))
            if not more:
                raise self._over()
            report += more
        return report

    def close(self) -> None:
        if self._program.stdin is not None:
            with contextlib.suppress(OSError):
                self._program.stdin.close()
        try:
            self._program.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait()
        for stream in (self._program.stdout, self._program.stderr):
            if stream is not None:
                stream.close()

    def _over(self) -> errors.KeypegError:
        """Why the program has ended."""
        self._program.wait(END_SECONDS)
        said = self._program.stderr.read().decode(errors="replace") if self._program.stderr else ""
        if "No module named" in said:
            return errors.KeyMissing(
                "Security keys over USB/IP need the bridge's programs. Run: pip install 'keypeg[bridge]'"
            )
        last = said.strip().rpartition("\n")[2]
        return errors.KeyMissing(last or "The security key is gone; plug it in, and begin again.")


@contextlib.contextmanager
def opened(usbip: str | None) -> Iterator[SecurityKey]:
    """The one security key that is plugged in here, or that is at HOST:PORT."""
    if usbip is not None:
        connection = PipeConnection(f"usbip:{usbip}")
        descriptor = HidDescriptor(usbip, 0, 0, REPORT_BYTES, REPORT_BYTES, None, None)
        try:
            yield SecurityKey(CtapHidDevice(descriptor, connection))
        finally:
            connection.close()
        return
    try:
        found = list(CtapHidDevice.list_devices())
    except OSError as error:
        raise errors.KeyMissing(
            f"The security key cannot be opened: {error.strerror or error}. On Linux, docs/bridge.md has the rule for udev."
        ) from error
    try:
        if len(found) != 1:
            raise errors.KeyMissing(
                "No security key is plugged in, or none that you may open (docs/bridge.md has the rule for udev)."
                if not found
                else f"{len(found)} security keys are plugged in; leave the one that is meant."
            )
        yield SecurityKey(found[0])
    finally:
        for device in found:
            device.close()


def origin_for(target: str, relying_party: str) -> str:
    """The origin of the called server; FieldInvalid when it asks for passkeys of a name that it does not have."""
    for server in servers.parse(target):
        if server.is_socket:
            continue
        origin = f"https://{server.address}"
        if verify_rp_id(relying_party, origin):
            return origin
    raise errors.FieldInvalid(
        f"The server at {target} has passkeys for {relying_party!r}, which is not the name that you call it by. Call it by"
        " that name (--server), or have its operator set passkeys.name.",
        field="server",
    )


async def within(seconds: float, ceremony: Callable[[threading.Event], T]) -> T:
    """What a key is asked for, in a thread; ends by its time, and does not keep the program from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    give_up = threading.Event()

    def settle(answer: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(answer)  # type: ignore[arg-type]  # there is one where there is no error

    def work() -> None:
        answer: T | None = None
        failed: BaseException | None = None
        try:
            answer = ceremony(give_up)
        except (ClientError, CtapError) as error:
            failed = _translated(error)
            failed.__cause__ = error
        except errors.KeypegError as error:
            failed = error
        except Exception as error:  # of a thread: the waiter must hear of it
            failed = errors.KeyFaulty(f"The security key failed: {type(error).__name__}: {error}.")
            failed.__cause__ = error
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(settle, answer, failed)

    threading.Thread(target=work, name="security-key", daemon=True).start()
    try:
        return await asyncio.wait_for(done, seconds)
    except TimeoutError:
        raise errors.TimedOut(
            "The security key was not touched in time; begin again, and touch it when it blinks."
        ) from None
    finally:
        give_up.set()


def _translated(error: ClientError | CtapError) -> errors.KeypegError:
    cause = error.cause if isinstance(error, ClientError) else error
    if isinstance(cause, CtapError) and cause.code in _REFUSALS:
        return _REFUSALS[cause.code]()
    if isinstance(error, ClientError) and error.code == ClientError.ERR.TIMEOUT:
        return errors.TimedOut("The security key was not touched in time; begin again.")
    return errors.KeyFaulty(f"The security key refused: {cause or error}.")
