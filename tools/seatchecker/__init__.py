"""A checker of seat servers: real processes, faults from a seed, and a judge that reads what they believed."""
