"""A laboratory of real keypeg programs on loopback, for the demonstration, the system tests and the benchmarks."""
