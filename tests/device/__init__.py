"""Tests of a key that somebody has in their hand: `pytest tests/device --device SERIAL` (docs/hardware-tests.md).

Promises: only the key with that serial number is spoken to beyond telling its own; nothing on it changes without `--device-erase`.
"""
