"""Reference data of the simulator: contract details, symbols, fundamentals, news, and corporate events.

The package answers requests for data that does not move with the market. The package must not know sockets, orders or
prices of the moment.
"""
