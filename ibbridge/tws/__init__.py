"""The connection to TWS: when to connect and to give up, which messages wait to be sent, and how fast they may leave.

Only the connector knows the socket; the caller tells session, supervisor and send queue what happens, and when.
The package must not know topics, or the clients of the bus.
"""
