"""How long a seat stays taken after its holder was killed, measured with real programs."""
