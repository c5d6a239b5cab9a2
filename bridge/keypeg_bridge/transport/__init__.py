"""Pipes to the card in a key: bytes of one APDU in, bytes of one answer out. USB through pyusb, over libusb or USB/IP.

What the bytes mean is left to `keys/`; which keys there are is found by `backends.py`.
"""
