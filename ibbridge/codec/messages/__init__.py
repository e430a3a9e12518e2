"""Declarations of every message and request, by domain. A request and the messages that answer it share a module."""

from __future__ import annotations

from ibbridge.codec.messages import (
    accounts,
    advisors,
    contracts,
    displays,
    history,
    lookups,
    market,
    news,
    options,
    orders,
    scanner,
    settings,
    system,
    wsh,
)
from ibbridge.codec.schema import Declaration, Request

DOMAINS = (
    system,
    market,
    orders,
    accounts,
    contracts,
    lookups,
    options,
    history,
    news,
    scanner,
    wsh,
    advisors,
    displays,
    settings,
)

_ALL = tuple(declaration for domain in DOMAINS for declaration in domain.DECLARATIONS)

OUTBOUND: tuple[Request, ...] = tuple(each for each in _ALL if isinstance(each, Request))
"""Requests: messages to TWS."""

INBOUND: tuple[Declaration, ...] = tuple(each for each in _ALL if not isinstance(each, Request))
"""Messages from TWS."""

REQUESTS = {each.name: each for each in OUTBOUND}
MESSAGES = {each.name: each for each in INBOUND}
