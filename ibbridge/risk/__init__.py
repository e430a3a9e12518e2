"""The permission to trade: the kill switch, and every check that an order must pass before it leaves.

The package decides whether an order may be sent now.
The package must not know how an order is sent, or what becomes of the order.
"""
