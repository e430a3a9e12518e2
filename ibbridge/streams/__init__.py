"""Numbered streams on the bus: sequence numbers, envelopes, the state of each topic, replay and snapshots.

The package numbers and keeps published messages. Durable messages are stored before they are sent.
The package must not know sockets, a clock, or what a message means.
"""
