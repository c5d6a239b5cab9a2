"""What to say when the system does not let this user open a key, by operating system.

Promises: one sentence of what is wrong and what to do; nothing is looked up.
"""

from __future__ import annotations

import sys
from typing import Final

UDEV_RULE: Final = "70-keypeg.rules"


def not_permitted(what: str, platform: str = sys.platform) -> str:
    """Two sentences for people; `what` names the device or its interface."""
    if platform == "linux":
        todo = (
            f"Install the udev rule {UDEV_RULE} (docs/bridge.md, Permissions), then unplug the key and"
            " plug it in again."
        )
    elif platform == "win32":
        todo = (
            "Windows gives FIDO interfaces to administrators only: run the bridge as one, or use the"
            " key as a smart card."
        )
    elif platform == "darwin":
        todo = "Allow the bridge to monitor input in the privacy settings of macOS."
    else:
        todo = "Give this user access to it."
    return f"No permission to open {what}. {todo}"
