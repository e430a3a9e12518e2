"""ibbridge: Interactive Brokers TWS on ZeroMQ.

One daemon holds the socket to TWS or IB Gateway, publishes every message it decodes, and takes commands;
strategies are processes of their own. Programs that use it need only `ibbridge.client`.
"""

__version__ = "0.1.0"
