"""Display groups: windows of a TWS that show the same contract, and clients that follow or change it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.market.contract_resolver import Refused, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import Handler, Session, World

GROUPS = range(1, 8)
NOTHING = "none"
"""What a group shows that shows nothing."""

_CONTRACT = re.compile(r"(\d{1,10})@[A-Z0-9.]{1,20}")


class Follower(NamedTuple):
    """A subscription to one group."""

    session: Session
    request: int
    group: int


class Displays:
    """What each group shows, and who follows it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._shown = dict.fromkeys(GROUPS, NOTHING)
        self._followers: dict[tuple[int, int], Follower] = {}

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "queryDisplayGroups": self.groups,
            "subscribeToGroupEvents": self.subscribe,
            "updateDisplayGroup": self.update,
            "unsubscribeFromGroupEvents": self.unsubscribe,
        }

    @staticmethod
    def groups(session: Session, args: Mapping[str, Any]) -> None:
        """Which groups there are."""
        session.send("displayGroupList", {"reqId": args["reqId"], "groups": "|".join(map(str, GROUPS))})

    def subscribe(self, session: Session, args: Mapping[str, Any]) -> None:
        """What a group shows, now and whenever it changes."""
        request, group = args["reqId"], args.get("groupId", 0)
        if group not in GROUPS:
            raise invalid(f"Invalid display group {group}")
        if (session.client_id, request) in self._followers:
            raise Refused(322, "Error processing request.-'ck' : cause - Duplicate request id")
        follower = self._followers[session.client_id, request] = Follower(session, request, group)
        self._tell(follower)

    def update(self, session: Session, args: Mapping[str, Any]) -> None:
        """Show something else in the group of a subscription. Everybody who follows the group hears of it."""
        follower = self._followers.get((session.client_id, args["reqId"]))
        if follower is None:
            raise invalid("Not subscribed to a display group")
        wanted = args.get("contractInfo", "")
        contract = _CONTRACT.fullmatch(wanted)
        if wanted != NOTHING and not (contract and self._world.catalogue.issued(int(contract[1]))):
            raise invalid(f"Invalid contract info: {wanted}")
        if self._shown[follower.group] == wanted:
            return
        self._shown[follower.group] = wanted
        for each in self._followers.values():
            if each.group == follower.group:
                self._tell(each)

    def unsubscribe(self, session: Session, args: Mapping[str, Any]) -> None:
        """No answer."""
        self._followers.pop((session.client_id, args["reqId"]), None)

    def drop(self, session: Session) -> None:
        """Forget a client that has gone."""
        self._followers = {key: each for key, each in self._followers.items() if each.session is not session}

    def beat(self, _: int) -> None:
        """Nothing here changes by itself."""

    def _tell(self, follower: Follower) -> None:
        data = {"reqId": follower.request, "contractInfo": self._shown[follower.group]}
        follower.session.send("displayGroupUpdated", data)
