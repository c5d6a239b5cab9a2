"""The PIV applet of an emulated key: its keys, PINs, objects, management key, and the makers' extensions."""
