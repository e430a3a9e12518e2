"""Accounts of the simulator: cash, positions, profit and loss, account values, and groups of advisors.

The package keeps the books of what was traded.
It must not know sockets, or how an order is filled.
"""
