"""The parts that execute commands of clients, by what a command does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ibbridge.commands.client_settings import ClientSettings
    from ibbridge.commands.order_commands import OrderCommands
    from ibbridge.orders.foreign_cancel import ForeignCancel
    from ibbridge.orders.global_cancel import GlobalCancel
    from ibbridge.orders.placement import OrderPlacement
    from ibbridge.requests.service import RequestService
    from ibbridge.subscriptions.service import SubscriptionService


class Executors(NamedTuple):
    """The parts that execute commands, by what a command does."""

    orders: OrderPlacement
    global_cancel: GlobalCancel
    requests: RequestService
    subscriptions: SubscriptionService
    settings: ClientSettings
    order_commands: OrderCommands
    foreign_cancel: ForeignCancel
