"""Market data of the simulator: quotes, depth, bars, ticks, scanners and option chains.

The package answers requests for market data from the simulated market. The package must not know sockets, orders or
accounts.
"""
