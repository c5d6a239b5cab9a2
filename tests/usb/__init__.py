"""Real USB and real programs: the emulated key under a Linux kernel, a card service, and other people's tools.

`make test-usb` runs all of it in a guest with a kernel of its own (tools/usb_lab). What needs no kernel of its own runs outside,
too, with the long tests: the tools for cards, by the virtual reader of the card service.
"""
