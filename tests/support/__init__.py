"""Shared parts of tests: fake peers, virtual time, generated data, real faults."""
