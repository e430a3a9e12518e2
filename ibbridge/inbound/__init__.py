"""Messages from TWS on their way to the bus: the topic of each message, and the requests that each message ends.

The package knows what the declarations say about publishing, and which requests and orders are under way.
The package must not know sockets, or commands of clients.
"""
