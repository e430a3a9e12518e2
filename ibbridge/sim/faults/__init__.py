"""Faults of the simulator: the script that orders them, and their effect on messages, bytes and connections.

The package makes TWS misbehave on request. Except for the control socket that takes commands, the package must not know
sockets or a clock.
"""
