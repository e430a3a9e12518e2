"""The market of the simulator: instruments, their prices, and the times of IB.

The package gives the same market for the same seed.
It must not know clients, requests or accounts.
"""
