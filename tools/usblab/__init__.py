"""A computer with a real Linux kernel and nothing else real: what `tools/usb_lab` starts the tests of tests/usb in."""
