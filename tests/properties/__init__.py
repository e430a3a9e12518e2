"""Properties and state machines: what holds whatever is generated."""
