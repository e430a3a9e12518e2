"""The connection to TWS: when to connect and to give up, what waits to be sent, and how fast it may leave.

Only the connector knows the socket; session, supervisor and send queue are told what happens, and when.
The package must not know topics, or the clients of the bus.
"""
