"""Orders of the simulator: entry, validation, matching, execution, and the queries of clients.

The package treats an order as TWS does. The package must not know sockets, or the bytes of a message.
"""
