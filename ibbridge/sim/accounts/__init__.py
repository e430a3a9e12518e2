"""Accounts of the simulator: cash, positions, profit and loss, account values, and groups of advisors.

The package keeps the books of all trades. The package must not know sockets, or how an order is filled.
"""
