"""Trade with NautilusTrader's adapter for Interactive Brokers: `python nautilus_trades.py PORT`.

Two nodes, one after the other: the first trades and leaves an order and a position, the second reconciles both.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import threading
from typing import Any

from nautilus_trader.adapters.interactive_brokers.common import IB, IB_VENUE
from nautilus_trader.adapters.interactive_brokers.config import (
    InteractiveBrokersDataClientConfig,
    InteractiveBrokersExecClientConfig,
    InteractiveBrokersInstrumentProviderConfig,
)
from nautilus_trader.adapters.interactive_brokers.factories import (
    InteractiveBrokersLiveDataClientFactory,
    InteractiveBrokersLiveExecClientFactory,
)
from nautilus_trader.config import LiveExecEngineConfig, LoggingConfig, RoutingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.enums import OrderSide, OrderType, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.trading.strategy import Strategy

PATIENCE = 60
INSTRUMENT = InstrumentId.from_str("AAPL.NASDAQ")


def say(step: str, **about: Any) -> None:
    """Print one step that went well."""
    print(json.dumps({"step": step, **about}, default=str), flush=True)


class Trades(Strategy):
    """Look up, watch, trade with a bracket, change, cancel, and leave a resting order."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__(StrategyConfig(strategy_id="TRADES-001", external_order_claims=[INSTRUMENT]))
        self.over = over
        self.quote: Any = None
        self.profit: Any = None
        self.wanted: Any = None
        self.rest: Any = None

    def on_start(self) -> None:
        """Say what the instrument is, and ask for its quotes."""
        instrument = self.cache.instrument(INSTRUMENT)
        say("contract", id=instrument.id, isin=instrument.isin, minTick=instrument.price_increment)
        self.subscribe_quote_ticks(INSTRUMENT)

    def on_quote_tick(self, tick: Any) -> None:
        """Place the bracket at the first quote."""
        if self.quote is not None or not tick.ask_price.as_double():
            return
        self.quote = tick
        say("data", bid=tick.bid_price, ask=tick.ask_price)
        instrument = self.cache.instrument(INSTRUMENT)
        ask = tick.ask_price.as_double()
        bracket = self.order_factory.bracket(
            instrument_id=INSTRUMENT,
            order_side=OrderSide.BUY,
            quantity=instrument.make_qty(100),
            entry_order_type=OrderType.LIMIT,
            entry_price=instrument.make_price(ask * 1.01),
            tp_price=instrument.make_price(ask * 1.2),
            tp_post_only=False,
            sl_trigger_price=instrument.make_price(ask * 0.8),
            time_in_force=TimeInForce.GTC,
        )
        self.profit = bracket.orders[2]
        self.submit_order_list(bracket)

    def on_order_filled(self, event: Any) -> None:
        """Change the profit taker when the entry is filled."""
        say("bracket", filled=event.last_qty, commission=event.commission)
        if self.rest is None:
            self.clock.set_timer("change", dt.timedelta(seconds=1), callback=self.change)

    def change(self, _: Any) -> None:
        """Ask for another price of the profit taker."""
        self.clock.cancel_timer("change")
        instrument = self.cache.instrument(INSTRUMENT)
        self.wanted = instrument.make_price(self.quote.ask_price.as_double() * 1.21)
        self.modify_order(self.profit, price=self.wanted)

    def on_order_updated(self, event: Any) -> None:
        """Cancel it when it is changed."""
        if self.wanted is not None and event.price == self.wanted and self.rest is None:
            say("change", price=float(event.price), wanted=float(self.wanted))
            self.cancel_order(self.profit)

    def on_order_canceled(self, event: Any) -> None:
        """Leave an order that rests when it is cancelled."""
        if self.rest is None and event.client_order_id == self.profit.client_order_id:
            say("cancel", status=self.cache.order(event.client_order_id).status_string())
            instrument = self.cache.instrument(INSTRUMENT)
            self.rest = self.order_factory.limit(
                INSTRUMENT,
                OrderSide.BUY,
                instrument.make_qty(7),
                instrument.make_price(self.quote.bid_price.as_double() * 0.7),
                time_in_force=TimeInForce.GTC,
            )
            self.submit_order(self.rest)

    def on_order_accepted(self, event: Any) -> None:
        """Come to the end when it rests."""
        if self.rest and event.client_order_id == self.rest.client_order_id:
            self.over.set()


class Reconciles(Strategy):
    """Say what a node that starts anew knows of positions and orders, and cancel what rests."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__(StrategyConfig(strategy_id="TRADES-001", external_order_claims=[INSTRUMENT]))
        self.over = over

    def on_start(self) -> None:
        """Look at what was reconciled."""
        positions = [each.signed_qty for each in self.cache.positions_open(instrument_id=INSTRUMENT)]
        orders = self.cache.orders_open(instrument_id=INSTRUMENT)
        say("reconcile", position=sum(positions), open=len(orders))
        self.left = {each.client_order_id for each in orders}
        for each in orders:
            self.cancel_order(each)

    def on_order_canceled(self, event: Any) -> None:
        """Come to the end when nothing rests any more."""
        self.left.discard(event.client_order_id)
        if not self.left:
            self.over.set()


def node(port: int) -> TradingNode:
    """Return a node that is connected to the gateway at this port."""
    provider = InteractiveBrokersInstrumentProviderConfig(load_ids=frozenset([INSTRUMENT]))
    made = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("FOREIGN-001"),
            logging=LoggingConfig(log_level=os.environ.get("LEVEL", "ERROR")),
            data_clients={
                IB: InteractiveBrokersDataClientConfig(
                    ibg_port=port, ibg_client_id=25, instrument_provider=provider, connection_timeout=PATIENCE
                )
            },
            exec_clients={
                IB: InteractiveBrokersExecClientConfig(
                    ibg_port=port,
                    ibg_client_id=25,
                    account_id="DU1234567",
                    instrument_provider=provider,
                    routing=RoutingConfig(default=True),
                    connection_timeout=PATIENCE,
                )
            },
            exec_engine=LiveExecEngineConfig(reconciliation=True),
            timeout_connection=PATIENCE,
            timeout_reconciliation=20.0,
            timeout_portfolio=20.0,
            timeout_disconnection=3.0,
            timeout_post_stop=1.0,
        )
    )
    made.add_data_client_factory(IB, InteractiveBrokersLiveDataClientFactory)
    made.add_exec_client_factory(IB, InteractiveBrokersLiveExecClientFactory)
    return made


def run(port: int, strategy: Any) -> None:
    """Run a strategy in a node until it is over."""
    over = threading.Event()
    made = node(port)
    made.trader.add_strategy(strategy(over))
    made.build()
    made.cache.set_specific_venue(IB_VENUE)

    def watch() -> None:
        ended = over.wait(PATIENCE)
        if not ended:
            print(f"{strategy.__name__} did not come to its end", file=sys.stderr, flush=True)
            os._exit(1)
        made.kernel.loop.call_soon_threadsafe(lambda: made.kernel.loop.create_task(made.stop_async()))

    threading.Thread(target=watch, daemon=True).start()
    made.run()
    made.dispose()


if __name__ == "__main__":
    if sys.argv[2] == "trade":
        run(int(sys.argv[1]), Trades)
    else:
        run(int(sys.argv[1]), Reconciles)
        say("done")
