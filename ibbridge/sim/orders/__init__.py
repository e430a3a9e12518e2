"""Orders of the simulator: entry, validation, matching, execution, and what clients may ask about them.

The package does with an order what TWS does.
It must not know sockets, or the bytes of a message.
"""
