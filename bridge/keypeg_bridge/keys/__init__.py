"""Drivers: what a key can do, said the same way for every kind of key. Ports in `driver.py`, PIV in `piv.py`."""
