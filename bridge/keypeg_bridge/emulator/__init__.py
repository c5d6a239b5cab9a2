"""The emulated key: a USB device with a card in it, served over USB/IP on loopback by a process of its own.

It is marked as emulated in its USB strings and in its applet's label. It uses `wire/` and cryptography, and nothing of the
host's side, so that driver and key can only meet on the wire.
"""
