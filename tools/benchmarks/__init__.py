"""Measures keypegd beside the floor of its own stack (docs/performance.md; run by tools/bench)."""
