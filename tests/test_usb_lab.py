"""What tools/usb_lab makes of a distribution's files before it boots them; the boot itself is `make test-usb`."""

from __future__ import annotations

import lzma
import struct

import pytest

from usblab import kernel_image

NOTE = struct.pack("<III4sI", 4, 8, 18, b"Xen\x00", 0x1000000)
KERNEL = b"\x7fELF" + bytes(500) + NOTE + bytes(500)


def image(kernel: bytes, *, version: int = 0x020F, packed: bytes | None = None) -> bytes:
    """A bzImage: boot sector and setup, and the payload some way into what follows."""
    payload = lzma.compress(kernel) if packed is None else packed
    payload += struct.pack("<I", len(kernel))
    head = bytearray(3 * 512)
    head[0x1F1] = 2
    head[0x202:0x208] = b"HdrS" + struct.pack("<H", version)
    struct.pack_into("<II", head, 0x248, 70, len(payload))
    return bytes(head) + bytes(70) + payload + b"what stands behind it"


def test_the_kernel_is_taken_out_of_its_image() -> None:
    assert kernel_image.unpacked(image(KERNEL)) == KERNEL


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(image(KERNEL)[:1_600], id="cut off in the payload"),
        pytest.param(image(KERNEL)[:600], id="cut off in the head"),
        pytest.param(bytes(5_000), id="no image"),
        pytest.param(image(KERNEL, packed=b"\x28\xb5\x2f\xfd" + bytes(99)), id="another packer"),
        pytest.param(image(KERNEL, version=0x0207), id="an older protocol"),
        pytest.param(image(b"MZ" + KERNEL), id="no ELF file"),
        pytest.param(image(KERNEL.replace(b"Xen", b"Yen")), id="no entry for a kernel as it is"),
    ],
)
def test_any_other_image_is_left_as_it_is(other: bytes) -> None:
    assert kernel_image.unpacked(other) is None
