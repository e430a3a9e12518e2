"""Financial advisors, soft dollar tiers, family codes, white branding."""

from __future__ import annotations

from ibbridge.codec import versions as v
from ibbridge.codec.messages.market import AskedId, ReqId
from ibbridge.codec.messages.orders import SOFT_DOLLAR_TIER
from ibbridge.codec.schema import Each, Int, Record, Rows, Str, Topic, Version, inbound, request

FAMILY_CODE = Record("FamilyCode", (Str("accountID", 1), Str("familyCodeStr", 2)))

DECLARATIONS = (
    request(
        18,
        "requestFA",
        Int("faData", 1, required=True, refused={2: v.FA_PROFILE_DESUPPORT}),  # profiles became groups
        doc="Asks an advisor's host for its groups (1) or account aliases (3).",
        text=(Version(1), "faData"),
        proto=v.PROTOBUF_REST_MESSAGES_1,
        answers=("receiveFA",),
        ends=("receiveFA",),
        fresh=True,
        repeats=("faData",),
    ),
    inbound(
        16,
        "receiveFA",
        Int("faData", 1),
        Str("cxml", 2),
        doc="An advisor's groups or aliases, in XML.",
        text=(Version(1), "faData cxml"),
        proto=v.PROTOBUF_REST_MESSAGES_1,
        topic=Topic.SYSTEM,
    ),
    request(
        19,
        "replaceFA",
        Int("reqId", 1, required=True),
        Int("faData", 2, required=True, refused={2: v.FA_PROFILE_DESUPPORT}),
        Str("cxml", 3, required=True, longest=1_000_000),
        doc="Replaces an advisor's groups.",
        text=(Version(1), "faData cxml reqId"),
        proto=v.PROTOBUF_REST_MESSAGES_1,
        answers=("replaceFAEnd",),
        ends=("replaceFAEnd",),
        once=True,
    ),
    inbound(
        103,
        "replaceFAEnd",
        ReqId,
        Str("text", 2),
        doc="Confirms that TWS has replaced the groups.",
        text="reqId text",
        proto=v.PROTOBUF_REST_MESSAGES_1,
    ),
    request(
        79,
        "reqSoftDollarTiers",
        AskedId,
        doc="Asks for the soft dollar tiers.",
        text="reqId",
        proto=v.PROTOBUF_REST_MESSAGES_2,
        answers=("softDollarTiers",),
        ends=("softDollarTiers",),
    ),
    inbound(
        77,
        "softDollarTiers",
        ReqId,
        Rows("tiers", SOFT_DOLLAR_TIER, 2),
        doc="The soft dollar tiers.",
        text=("reqId", Each("tiers", ("name val displayName",))),
        proto=v.PROTOBUF_REST_MESSAGES_2,
    ),
    request(
        80,
        "reqFamilyCodes",
        doc="Asks to which families the accounts belong.",
        text=(),
        proto=v.PROTOBUF_REST_MESSAGES_2,
        answers=("familyCodes",),
        ends=("familyCodes",),
    ),
    inbound(
        78,
        "familyCodes",
        Rows("familyCodes", FAMILY_CODE, 1),
        doc="The family code of each account.",
        text=(Each("familyCodes", ("accountID familyCodeStr",)),),
        proto=v.PROTOBUF_REST_MESSAGES_2,
        topic=Topic.SYSTEM,
    ),
    request(
        104,
        "reqUserInfo",
        AskedId,
        doc="Asks under which white brand the user is.",
        text="reqId",
        proto=v.PROTOBUF_REST_MESSAGES_2,
        answers=("userInfo",),
        ends=("userInfo",),
    ),
    inbound(
        107,
        "userInfo",
        ReqId,
        Str("whiteBrandingId", 2),
        doc="The white brand of the user.",
        text="reqId whiteBrandingId",
        proto=v.PROTOBUF_REST_MESSAGES_2,
    ),
)
