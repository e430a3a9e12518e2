"""Clients of TWS that nobody here wrote, unchanged, on the simulator: each in an environment of its own."""
