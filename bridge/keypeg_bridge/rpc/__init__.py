"""The bridge's services: sessions on keys, and the keys themselves. Decode, call the rack, encode.

Promises: what an app can act on and stay is a frame, what ends its stream is a status (keypeg.serving); nothing that a
client sends ends in anything else.
"""
