"""Orders: placement and cancellation, the owner of each order, and the keys that are kept for ever.

The package knows what an order must say, and which order an orderId, a permId or an orderRef names.
The package must not know sockets, the form of commands, or subscriptions.
"""
