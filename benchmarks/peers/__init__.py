"""The other engines that the benchmark measures: each in an environment and a process of its own."""
