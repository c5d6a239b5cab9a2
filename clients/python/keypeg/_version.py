"""The version of the one wheel: SDK, server and bridge share it."""

__version__ = "0.1.0.dev0"
