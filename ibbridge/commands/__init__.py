"""The command socket of clients: every command gets exactly one reply, and becomes a request to TWS.

The package knows the form of commands, the replies it has given, and which part carries a command out.
It must not know ZeroMQ, or messages that TWS sends.
"""
