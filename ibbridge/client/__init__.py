"""Python client library: strategies import `connect`, the message and event classes, and contracts and orders.

>>> from ibbridge.client import connect, stock
>>> with connect("my-strategy") as ib:
...     ib.reqMktData(stock("AAPL"))
...     for message in ib:
...         print(message)
"""

from __future__ import annotations

from ibbridge.client.client import Client, connect
from ibbridge.client.contracts import Contract, forex, future, option, stock
from ibbridge.client.endpoints import PUB, REP
from ibbridge.client.errors import AuthError, BridgeError, CommandError, NoAnswer, SubscriptionRefused
from ibbridge.client.events import Down, Gap, Refused, Restart, Up
from ibbridge.client.message import Message, Record
from ibbridge.client.order_state import OrderState
from ibbridge.client.orders import Order, bracket, limit, market, stop
from ibbridge.client.request import Request
from ibbridge.client.threaded_feed import Feed
from ibbridge.client.threaded_orders import PlacedOrder
from ibbridge.client.ticks import TICK_NAMES

__all__ = [
    "PUB",
    "REP",
    "TICK_NAMES",
    "AuthError",
    "BridgeError",
    "Client",
    "CommandError",
    "Contract",
    "Down",
    "Feed",
    "Gap",
    "Message",
    "NoAnswer",
    "Order",
    "OrderState",
    "PlacedOrder",
    "Record",
    "Refused",
    "Request",
    "Restart",
    "SubscriptionRefused",
    "Up",
    "bracket",
    "connect",
    "forex",
    "future",
    "limit",
    "market",
    "option",
    "stock",
    "stop",
]
