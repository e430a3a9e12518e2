"""Server versions by the feature that each brought, under the names of IB's own client.

A declaration says `since=SUBMITTER`, never `since=198`. Only the schema engine and the connection compare versions.
"""

from __future__ import annotations

from typing import TypeGuard

OLDEST = 176
"""The oldest version ibbridge speaks: what older third-party clients offer, and the simulator must serve."""

NEWEST = 226
"""The newest version ibbridge offers in its handshake."""

FA_PROFILE_DESUPPORT = 177
PENDING_PRICE_REVISION = 178
FUND_DATA_FIELDS = 179
MANUAL_ORDER_TIME_EXERCISE_OPTIONS = 180
OPEN_ORDER_AD_STRATEGY = 181
LAST_TRADE_DATE = 182
CUSTOMER_ACCOUNT = 183
PROFESSIONAL_CUSTOMER = 184
BOND_ACCRUED_INTEREST = 185
INELIGIBILITY_REASONS = 186
RFQ_FIELDS = 187
BOND_TRADING_HOURS = 188
INCLUDE_OVERNIGHT = 189
UNDO_RFQ_FIELDS = 190
PERM_ID_AS_LONG = 191
CME_TAGGING_FIELDS = 192
CME_TAGGING_FIELDS_IN_OPEN_ORDER = 193
ERROR_TIME = 194
FULL_ORDER_PREVIEW_FIELDS = 195
HISTORICAL_DATA_END = 196
CURRENT_TIME_IN_MILLIS = 197
SUBMITTER = 198
IMBALANCE_ONLY = 199
PARAMETRIZED_DAYS_OF_EXECUTIONS = 200
PROTOBUF = 201
ZERO_STRIKE = 202
PROTOBUF_PLACE_ORDER = 203
PROTOBUF_COMPLETED_ORDER = 204
PROTOBUF_CONTRACT_DATA = 205
PROTOBUF_MARKET_DATA = 206
PROTOBUF_ACCOUNTS_POSITIONS = 207
PROTOBUF_HISTORICAL_DATA = 208
PROTOBUF_NEWS_DATA = 209
PROTOBUF_SCAN_DATA = 210
PROTOBUF_REST_MESSAGES_1 = 211
PROTOBUF_REST_MESSAGES_2 = 212
PROTOBUF_REST_MESSAGES_3 = 213
ADD_Z_SUFFIX_TO_UTC_DATE_TIME = 214
CANCEL_CONTRACT_DATA = 215
ADDITIONAL_ORDER_PARAMS_1 = 216
ADDITIONAL_ORDER_PARAMS_2 = 217
ATTACHED_ORDERS = 218
CONFIG = 219
MARKET_DATA_VOLUMES_IN_SHARES = 220
UPDATE_CONFIG = 221
FRACTIONAL_LAST_SIZE = 222
HEDGE_MAX_SIZE = 223
USE_PRECISION_FROM_SEC_DEF = 224
ODD_LOT_BID_ASK_QUOTES = 225
COND_ORDER_WITH_OVERNIGHT_PARAM = 226


PROTOBUF_IDS = 200
"""Added to the id of a message whose body is protobuf."""


def raw_ids(version: int) -> bool:
    """Whether messages begin with their id in four bytes, and may be protobuf, rather than with its digits."""
    return version >= PROTOBUF


def is_known(version: object) -> TypeGuard[int]:
    """Whether this is a server version that ibbridge speaks."""
    return type(version) is int and OLDEST <= version <= NEWEST
