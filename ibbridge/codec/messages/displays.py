"""Display groups: windows of TWS that show the same contract."""

from __future__ import annotations

from ibbridge.codec import versions as v
from ibbridge.codec.messages.market import AskedId, ReqId
from ibbridge.codec.schema import Int, Kind, Str, Version, inbound, request

DECLARATIONS = (
    request(
        67,
        "queryDisplayGroups",
        AskedId,
        doc="Asks for the display groups of TWS.",
        text=(Version(1), "reqId"),
        proto=v.PROTOBUF_REST_MESSAGES_3,
        answers=("displayGroupList",),
        ends=("displayGroupList",),
    ),
    inbound(
        67,
        "displayGroupList",
        ReqId,
        Str("groups", 2),
        doc="The ids of the display groups, the most used first, separated by `|`.",
        text=(Version(1), "reqId groups"),
        proto=v.PROTOBUF_REST_MESSAGES_3,
    ),
    request(
        68,
        "subscribeToGroupEvents",
        AskedId,
        Int("groupId", 2, required=True),
        doc="Asks which contract a display group shows, now and after each change.",
        text=(Version(1), "reqId groupId"),
        proto=v.PROTOBUF_REST_MESSAGES_3,
        does=Kind.SUBSCRIPTION,
        answers=("displayGroupUpdated",),
        deadline=30.0,
    ),
    request(
        69,
        "updateDisplayGroup",
        AskedId,
        Str("contractInfo", 2, required=True),
        doc="Makes a display group show another contract: `conId@exchange`, `none` or `combo`.",
        text=(Version(1), "reqId contractInfo"),
        proto=v.PROTOBUF_REST_MESSAGES_3,
        does=Kind.FORGET,
        concerns="subscribeToGroupEvents",
        answers=("displayGroupUpdated",),
    ),
    request(
        70,
        "unsubscribeFromGroupEvents",
        AskedId,
        text=(Version(1), "reqId"),
        proto=v.PROTOBUF_REST_MESSAGES_3,
        does=Kind.FORGET,
        cancels="subscribeToGroupEvents",
    ),
    inbound(
        68,
        "displayGroupUpdated",
        ReqId,
        Str("contractInfo", 2),
        doc="The contract that a display group shows: `conId@exchange`, `none` or `combo`.",
        text=(Version(1), "reqId contractInfo"),
        proto=v.PROTOBUF_REST_MESSAGES_3,
        identity=(),
    ),
)
