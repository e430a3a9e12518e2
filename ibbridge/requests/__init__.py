"""Requests under way to TWS: how each is made, sent, sent again, timed out and given up.

The package knows which client waits for the response to a request, and until when.
The package must not know sockets, the form of commands, or which clients share a subscription.
"""
