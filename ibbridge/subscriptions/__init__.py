"""Subscriptions at TWS: which client wants which, when one has gone silent, and how it is taken out again.

The package keeps every subscription alive across reconnections, farm outages and competing sessions.
It must not know sockets, the form of commands, or orders.
"""
