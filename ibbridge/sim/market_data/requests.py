"""Table of the requests for market data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.sim.market_data.depth import Depth
from ibbridge.sim.market_data.history import History
from ibbridge.sim.market_data.option_chains import OptionChains
from ibbridge.sim.market_data.quotes import Quotes
from ibbridge.sim.market_data.scanner import Scanner
from ibbridge.sim.market_data.tick_by_tick import TickByTick
from ibbridge.sim.market_data.tick_history import TickHistory
from ibbridge.sim.request_table import RequestTable, done_at_once

if TYPE_CHECKING:
    from ibbridge.sim.context import SimulationContext
    from ibbridge.sim.reference_data.news_archive import NewsArchive


class MarketDataRequests(RequestTable):
    """Requests for quotes, depth, bars, ticks, scanners and option chains."""

    def __init__(self, context: SimulationContext, archive: NewsArchive) -> None:
        quotes, depth, options = Quotes(context, archive), Depth(context), OptionChains(context)
        live, ticks, scanner = TickByTick(context), TickHistory(context), Scanner(context)
        self.history = history = History(context)
        super().__init__(
            {
                "reqMktData": quotes.request,
                "cancelMktData": quotes.cancel,
                "reqMarketDataType": quotes.set_type,
                "reqMktDepth": depth.request,
                "cancelMktDepth": depth.cancel,
                "reqTickByTickData": live.request_ticks,
                "cancelTickByTickData": live.cancel_ticks,
                "reqRealTimeBars": live.request_bars,
                "cancelRealTimeBars": live.cancel_bars,
                "reqHistoricalData": history.request,
                "cancelHistoricalData": history.cancel,
                "reqHeadTimeStamp": history.head,
                "cancelHeadTimeStamp": done_at_once,
                "reqHistoricalTicks": ticks.ticks,
                "cancelHistoricalTicks": ticks.cancel_ticks,
                "reqHistogramData": ticks.histogram,
                "cancelHistogramData": ticks.cancel_histogram,
                "reqScannerParameters": scanner.parameters,
                "reqScannerSubscription": scanner.subscribe,
                "cancelScannerSubscription": scanner.cancel,
                "reqSecDefOptParams": options.chain,
                "calculateImpliedVolatility": options.volatility,
                "cancelCalculateImpliedVolatility": done_at_once,
                "calculateOptionPrice": options.price,
                "cancelCalculateOptionPrice": done_at_once,
            },
            quotes, depth, live, history, ticks, scanner,
        )  # fmt: skip
