"""The host's own configuration: what it is, and changing it. Protobuf only; nothing here has a default but unset."""

from __future__ import annotations

from ibbridge.codec import versions as v
from ibbridge.codec.schema import Bool, Field, Int, Part, Record, Rows, Spread, Str, inbound, request
from ibbridge.codec.types import STR


def _flag(name: str, tag: int) -> Field:
    return Bool(name, tag, None, always=True)


def _text(name: str, tag: int) -> Field:
    return Str(name, tag, None, always=True, longest=4_096)


def _number(name: str, tag: int) -> Field:
    return Int(name, tag, None)


LOCK_AND_EXIT_CONFIG = Record(
    "LockAndExitConfig",
    (
        _text("autoLogoffTime", 1),
        _text("autoLogoffPeriod", 2),
        _text("autoLogoffType", 3),
    ),
)

MESSAGE_CONFIG = Record(
    "MessageConfig",
    (
        _number("id", 1),
        _text("title", 2),
        _text("message", 3),
        _text("defaultAction", 4),
        _flag("enabled", 5),
    ),
)

API_PRECAUTIONS_CONFIG = Record(
    "ApiPrecautionsConfig",
    (
        _flag("bypassOrderPrecautions", 1),
        _flag("bypassBondWarning", 2),
        _flag("bypassNegativeYieldConfirmation", 3),
        _flag("bypassCalledBondWarning", 4),
        _flag("bypassSameActionPairTradeWarning", 5),
        _flag("bypassFlaggedAccountsWarning", 6),
        _flag("bypassPriceBasedVolatilityWarning", 7),
        _flag("bypassRedirectOrderWarning", 8),
        _flag("bypassNoOverfillProtection", 9),
        _flag("bypassRouteMarketableToBBO", 10),
    ),
)

API_SETTINGS_CONFIG = Record(
    "ApiSettingsConfig",
    (
        _flag("readOnlyApi", 1),
        _flag("totalQuantityForMutualFunds", 2),
        _flag("downloadOpenOrdersOnConnection", 3),
        _flag("includeVirtualFxPositions", 4),
        _flag("prepareDailyPnL", 5),
        _flag("sendStatusUpdatesForVolatilityOrders", 6),
        _text("encodeApiMessages", 7),
        _number("socketPort", 8),
        _flag("useNegativeAutoRange", 9),
        _flag("createApiMessageLogFile", 10),
        _flag("includeMarketDataInLogFile", 11),
        _flag("exposeTradingScheduleToApi", 12),
        _flag("splitInsuredDepositFromCashBalance", 13),
        _flag("sendZeroPositionsForTodayOnly", 14),
        _flag("letApiAccountRequestsSwitchSubscription", 15),
        _flag("useAccountGroupsWithAllocationMethods", 16),
        _text("loggingLevel", 17),
        _number("masterClientId", 18),
        _number("bulkDataTimeout", 19),
        _text("componentExchSeparator", 20),
        _flag("showForexDataIn1_10Pips", 21),
        _flag("allowForexTradingIn1_10Pips", 22),
        _flag("roundAccountValuesToNearestWholeNumber", 23),
        _flag("sendMarketDataInLotsForUsStocks", 24),
        _flag("showAdvancedOrderRejectInUi", 25),
        _flag("rejectMessagesAboveMaxRate", 26),
        _flag("maintainConnectionOnIncorrectFields", 27),
        _flag("compatibilityModeNasdaqStocks", 28),
        _text("sendInstrumentTimezone", 29),
        _flag("sendForexDataInCompatibilityMode", 30),
        _flag("maintainAndResubmitOrdersOnReconnect", 31),
        _number("historicalDataMaxSize", 32),
        _flag("autoReportNettingEventContractTrades", 33),
        _text("optionExerciseRequestType", 34),
        _flag("allowLocalhostOnly", 35),
        Rows("trustedIPs", STR, 36),
    ),
)

API_CONFIG = Record(
    "ApiConfig",
    (
        Part("precautions", API_PRECAUTIONS_CONFIG, 1, optional=True),
        Part("settings", API_SETTINGS_CONFIG, 2, optional=True),
    ),
)

ORDERS_SMART_ROUTING_CONFIG = Record(
    "OrdersSmartRoutingConfig",
    (
        _flag("seekPriceImprovement", 1),
        _flag("preOpenReroute", 2),
        _flag("doNotRouteToDarkPools", 3),
        _text("defaultAlgorithm", 4),
    ),
)

ORDERS_CONFIG = Record("OrdersConfig", (Part("smartRouting", ORDERS_SMART_ROUTING_CONFIG, 1, optional=True),))

UPDATE_CONFIG_WARNING = Record(
    "UpdateConfigWarning",
    (
        _number("messageId", 1),
        _text("title", 2),
        _text("message", 3),
    ),
)

CONFIG_REQUEST = Record("ConfigRequest", (_number("reqId", 1),))

CONFIG_RESPONSE = Record(
    "ConfigResponse",
    (
        _number("reqId", 1),
        Part("lockAndExit", LOCK_AND_EXIT_CONFIG, 2, optional=True),
        Rows("messages", MESSAGE_CONFIG, 3),
        Part("api", API_CONFIG, 4, optional=True),
        Part("orders", ORDERS_CONFIG, 5, optional=True),
    ),
)

UPDATE_CONFIG_REQUEST = Record(
    "UpdateConfigRequest",
    (
        _number("reqId", 1),
        Part("lockAndExit", LOCK_AND_EXIT_CONFIG, 2, optional=True),
        Rows("messages", MESSAGE_CONFIG, 3),
        Part("api", API_CONFIG, 4, optional=True),
        Part("orders", ORDERS_CONFIG, 5, optional=True),
        Rows("acceptedWarnings", UPDATE_CONFIG_WARNING, 6),
        _flag("resetAPIOrderSequence", 7),
    ),
)

UPDATE_CONFIG_RESPONSE = Record(
    "UpdateConfigResponse",
    (
        _number("reqId", 1),
        _text("status", 2),
        _text("message", 3),
        Rows("changedFields", STR, 4),
        Rows("errors", STR, 5),
        Rows("warnings", UPDATE_CONFIG_WARNING, 6),
    ),
)

DECLARATIONS = (
    request(
        108,
        "reqConfig",
        Spread("configRequestProto", CONFIG_REQUEST),
        doc="Asks for the host's own settings.",
        text=None,
        proto=v.CONFIG,
        key="configRequestProto.reqId",
        answers=("configResponse",),
        ends=("configResponse",),
    ),
    inbound(
        110,
        "configResponse",
        Spread("configResponseProto", CONFIG_RESPONSE),
        doc="The host's own settings.",
        text=None,
        proto=v.CONFIG,
        key="configResponseProto.reqId",
    ),
    request(
        109,
        "updateConfig",
        Spread("updateConfigRequestProto", UPDATE_CONFIG_REQUEST),
        doc="Changes the host's own settings. Warnings have to be accepted in a second request.",
        text=None,
        proto=v.UPDATE_CONFIG,
        key="updateConfigRequestProto.reqId",
        answers=("updateConfigResponse",),
        ends=("updateConfigResponse",),
        once=True,
    ),
    inbound(
        111,
        "updateConfigResponse",
        Spread("updateConfigResponseProto", UPDATE_CONFIG_RESPONSE),
        doc="The result of a change of the settings.",
        text=None,
        proto=v.UPDATE_CONFIG,
        key="updateConfigResponseProto.reqId",
    ),
)
