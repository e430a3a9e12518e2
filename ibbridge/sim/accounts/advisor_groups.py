"""User requests: advisors' groups and aliases, families of accounts, soft dollars, branding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, ParseError, SubElement, fromstring, tostring

from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.sim.context import ClientSession
    from ibbridge.sim.settings import HostSettings

GROUPS, ALIASES = 1, 3
NO_REQUEST = 2147483647
"""Request id of the errors about requestFA, which has no request id of its own."""

_ROOTS = {GROUPS: "ListOfGroups", ALIASES: "ListOfAccountAliases"}
_NOT_ADVISOR = invalid("FA data operations ignored for non FA customers.").text


class AdvisorGroups:
    """Handlers of user requests, for one user who is an advisor or not."""

    def __init__(self, settings: HostSettings) -> None:
        self._accounts = settings.accounts
        self._advisor = settings.advisor
        self._documents = {GROUPS: _groups(self._accounts), ALIASES: _aliases(self._accounts)}

    def documents(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send groups or aliases as XML. The request has no id, so errors carry `NO_REQUEST`."""
        kind = args.get("faData", 0)
        if not self._advisor:
            session.error(NO_REQUEST, 321, _NOT_ADVISOR)
        elif kind not in self._documents:
            session.error(NO_REQUEST, 321, invalid(f"Invalid FA data type: {kind}").text)
        else:
            session.send("receiveFA", {"faData": kind, "cxml": self._documents[kind]})

    def replace(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Store another document, if its accounts exist."""
        kind, text = args.get("faData", 0), args.get("cxml", "")
        if not self._advisor:
            raise RequestRejected(321, _NOT_ADVISOR)
        if kind not in self._documents:
            raise invalid(f"Invalid FA data type: {kind}")
        try:
            root = fromstring(text)  # noqa: S314 - a client may only hurt itself: expat bounds what entities become
        except (ParseError, ValueError) as error:
            raise invalid(f"The FA data is no XML: {error}") from None
        if root.tag != _ROOTS[kind]:
            raise invalid(f"The FA data is no {_ROOTS[kind]}")
        named = {each.text or "" for tag in ("acct", "account") for each in root.iter(tag)}
        if unknown := named - set(self._accounts):
            raise RequestRejected(10231, f"FA Groups contain invalid accounts: {', '.join(sorted(unknown))}")
        self._documents[kind] = text
        session.send("replaceFAEnd", {"reqId": args["reqId"], "text": "success"})

    def families(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send one row for each account. Only an advisor's accounts have a family code."""
        code = f"F{self._accounts[0].lstrip('DFU')}" if self._advisor else ""
        rows = [{"accountID": name, "familyCodeStr": code} for name in self._accounts]
        described = [{key: value for key, value in row.items() if value} for row in rows]
        session.send("familyCodes", {"familyCodes": described})

    def tiers(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the soft dollar tiers of an advisor, and an empty list to any other user."""
        names = (("Maximize Commissions", "MaxCommission"), ("Zero Commissions", "Zero")) if self._advisor else ()
        tiers = [{"name": name, "val": value, "displayName": name} for name, value in names]
        session.send("softDollarTiers", {"reqId": args["reqId"], "tiers": tiers})

    @staticmethod
    def user(session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the user's branding, which is none."""
        session.send("userInfo", {"reqId": args["reqId"], "whiteBrandingId": ""})


def _groups(accounts: Sequence[str]) -> str:
    root = Element("ListOfGroups")
    group = SubElement(root, "Group")
    SubElement(group, "name").text = "Everybody"
    SubElement(group, "defaultMethod").text = "NetLiq"
    members = SubElement(group, "ListOfAccts", varName="list")
    for account in accounts:
        member = SubElement(members, "Account")
        SubElement(member, "acct").text = account
        SubElement(member, "amount").text = "0.0"
    return _document(root)


def _aliases(accounts: Sequence[str]) -> str:
    root = Element("ListOfAccountAliases")
    for account in accounts:
        alias = SubElement(root, "AccountAlias")
        SubElement(alias, "account").text = account
        SubElement(alias, "alias").text = account
    return _document(root)


def _document(root: Element) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'
