"""Table of the requests for reference data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.sim.reference_data.contract_details import ContractDetails
from ibbridge.sim.reference_data.display_groups import DisplayGroups
from ibbridge.sim.reference_data.fundamentals import Fundamentals
from ibbridge.sim.reference_data.lookups import Lookups
from ibbridge.sim.reference_data.news import News
from ibbridge.sim.reference_data.wsh import Horizon
from ibbridge.sim.request_table import RequestTable, done_at_once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.accounts.ledger import Ledger
    from ibbridge.sim.context import SimulationContext
    from ibbridge.sim.reference_data.news_archive import NewsArchive


class ReferenceDataRequests(RequestTable):
    """Requests for contract details, names, fundamentals, news, corporate events, and display groups."""

    def __init__(self, context: SimulationContext, archive: NewsArchive, ledgers: Mapping[str, Ledger]) -> None:
        details, reports, lookups = ContractDetails(context), Fundamentals(context), Lookups(context)
        news, horizon, groups = News(context, archive), Horizon(context, ledgers), DisplayGroups(context)
        super().__init__(
            {
                "reqContractDetails": details.details,
                "cancelContractData": done_at_once,
                "reqFundamentalData": reports.report,
                "cancelFundamentalData": done_at_once,
                "reqMatchingSymbols": lookups.matching,
                "reqMarketRule": lookups.market_rule,
                "reqSmartComponents": lookups.smart_components,
                "reqMktDepthExchanges": lookups.depth_exchanges,
                "reqNewsProviders": news.providers,
                "reqHistoricalNews": news.headlines,
                "reqNewsArticle": news.article,
                "reqNewsBulletins": news.bulletins,
                "cancelNewsBulletins": news.cancel_bulletins,
                "reqWshMetaData": horizon.meta,
                "cancelWshMetaData": horizon.cancel_meta,
                "reqWshEventData": horizon.events,
                "cancelWshEventData": horizon.cancel_events,
                "queryDisplayGroups": groups.groups,
                "subscribeToGroupEvents": groups.subscribe,
                "updateDisplayGroup": groups.update,
                "unsubscribeFromGroupEvents": groups.unsubscribe,
            },
            lookups, news, horizon, groups,
        )  # fmt: skip
