"""The command socket of clients: every command gets exactly one reply, and most commands become a request to TWS.

The package knows the form of commands, the replies that it has given, and which part executes a command.
The package must not know ZeroMQ, or messages that TWS sends.
"""
