"""The permission to trade: the kill switch, and every check that an order must pass before it leaves.

The package answers one question: may this order go out now?
It must not know how an order is sent, or what becomes of it.
"""
