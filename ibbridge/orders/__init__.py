"""Orders: placement and cancellation, the owner of each order, and the keys that are kept for ever.

The package knows what an order must say, and to whom TWS means an orderId, a permId or an orderRef.
It must not know sockets, the form of commands, or subscriptions.
"""
