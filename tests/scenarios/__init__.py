"""Sessions of days in virtual time: what happens between the daemon and TWS, and what must come of it."""
