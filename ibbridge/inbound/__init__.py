"""Messages from TWS on their way to the bus: the topic of each, and the requests that each one ends.

The package knows what the declarations say about publishing, and what requests and orders are under way.
It must not know sockets, or commands of clients.
"""
