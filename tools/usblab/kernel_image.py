"""The kernel itself, out of the compressed image that distributions ship: unpacking it here takes a second, in the guest five.

Promises: pure, bytes to bytes. Gives the ELF file inside an image whose payload is compressed with xz (Debian's) and that
can be entered as it is (PVH); None for any other image, which is then booted whole.
"""

from __future__ import annotations

import lzma
import struct
from typing import Final

# Linux, Documentation/arch/x86/boot.rst: "The Real-Mode Kernel Header".
_SECTORS_AT: Final = 0x1F1
_MAGIC_AT: Final = 0x202
_MAGIC: Final = b"HdrS"
_PAYLOAD_AT: Final = 0x248  # payload_offset and payload_length, since version 2.08 of the protocol
_VERSION: Final = 0x0208
_SECTOR: Final = 512
_ELF: Final = b"\x7fELF"
_PVH_NOTE: Final = struct.pack("<III4s", 4, 8, 18, b"Xen\x00")  # XEN_ELFNOTE_PHYS32_ENTRY


def unpacked(image: bytes) -> bytes | None:
    """The ELF file in a bzImage, None when it is not known how to take it out or to boot it."""
    if len(image) < _PAYLOAD_AT + 8 or image[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        return None
    if struct.unpack_from("<H", image, _MAGIC_AT + 4)[0] < _VERSION:
        return None
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    begin = ((image[_SECTORS_AT] or 4) + 1) * _SECTOR + offset
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)  # behind it stands the unpacked size: not read
    try:
        kernel = stream.decompress(image[begin : begin + length])
    except lzma.LZMAError:
        return None
    whole = stream.eof and kernel.startswith(_ELF) and _PVH_NOTE in kernel
    return kernel if whole else None
