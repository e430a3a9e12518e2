"""Market of the simulator: instruments, their prices, and the times of IB.

The package gives the same market for the same seed. The package must not know clients, requests or accounts.
"""
