"""Framing of everything that reaches a key: USB, USB/IP, CCID, APDU, TLV, PIV. Bytes in, values out; no I/O, no clock.

Drivers use it from the host's side, the emulated key from the device's side: the same code, so neither can drift alone.
"""
