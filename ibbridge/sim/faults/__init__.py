"""Faults of the simulator: the script that orders them, and what they do to messages, bytes and connections.

The package makes TWS misbehave on request.
It must not know sockets or a clock, but for the control socket that takes its orders.
"""
