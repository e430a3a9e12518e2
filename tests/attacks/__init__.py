"""Attacks on the daemon, by hostile peers and by careless ones: each row of docs/security.md that makes a promise."""
