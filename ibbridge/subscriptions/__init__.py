"""Subscriptions at TWS: the clients of each subscription, detection of silent ones, and re-subscription.

The package keeps every subscription alive across reconnections, farm outages and competing sessions.
The package must not know sockets, the form of commands, or orders.
"""
