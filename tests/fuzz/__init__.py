"""Any bytes at all, on every parser of the wire, from both sides: what is tried (targets.py), and how with each run (test_targets.py).

`make fuzz SECONDS=...` tries the same targets guided by coverage (tools/fuzz).
"""
