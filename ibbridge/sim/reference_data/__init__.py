"""Reference data of the simulator: contract details, symbols, fundamentals, news, and corporate events.

The package answers requests for what does not move with the market.
It must not know sockets, orders or prices of the moment.
"""
