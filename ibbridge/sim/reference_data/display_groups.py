"""Display groups: windows of a TWS that show the same contract, and clients that follow or change a group."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, SimulationContext

GROUPS = range(1, 8)
NOTHING = "none"
"""Contract info of a group that shows no contract."""

_CONTRACT = re.compile(r"(\d{1,10})@[A-Z0-9.]{1,20}")


class GroupSubscription(NamedTuple):
    """Subscription to one display group."""

    session: ClientSession
    request: int
    group: int


class DisplayGroups:
    """Contracts that the display groups show, and the subscriptions to the groups."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._shown = dict.fromkeys(GROUPS, NOTHING)
        self._followers: dict[tuple[int, int], GroupSubscription] = {}

    @staticmethod
    def groups(session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the list of display groups."""
        session.send("displayGroupList", {"reqId": args["reqId"], "groups": "|".join(map(str, GROUPS))})

    def subscribe(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the contract of a group, now and at each change."""
        request, group = args["reqId"], args.get("groupId", 0)
        if group not in GROUPS:
            raise invalid(f"Invalid display group {group}")
        if (session.client_id, request) in self._followers:
            raise RequestRejected(322, "Error processing request.-'ck' : cause - Duplicate request id")
        follower = self._followers[session.client_id, request] = GroupSubscription(session, request, group)
        self._tell(follower)

    def update(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Change the contract of the group of a subscription. Every subscriber of the group is told."""
        follower = self._followers.get((session.client_id, args["reqId"]))
        if follower is None:
            raise invalid("Not subscribed to a display group")
        wanted = args.get("contractInfo", "")
        contract = _CONTRACT.fullmatch(wanted)
        if wanted != NOTHING and not (contract and self._context.resolver.issued(int(contract[1]))):
            raise invalid(f"Invalid contract info: {wanted}")
        if self._shown[follower.group] == wanted:
            return
        self._shown[follower.group] = wanted
        for each in self._followers.values():
            if each.group == follower.group:
                self._tell(each)

    def unsubscribe(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription. There is no response."""
        self._followers.pop((session.client_id, args["reqId"]), None)

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        self._followers = {key: each for key, each in self._followers.items() if each.session is not session}

    def tick(self, _: int) -> None:
        """Do nothing: display groups change only by requests."""

    def _tell(self, follower: GroupSubscription) -> None:
        data = {"reqId": follower.request, "contractInfo": self._shown[follower.group]}
        follower.session.send("displayGroupUpdated", data)
