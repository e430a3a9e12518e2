"""Leases: what each client holds at TWS, since when, and the end of the leases of clients that are gone.

Pure. A client that has said that it lives (`hello`) and is gone loses its leases. A subscription without a holder stays
at TWS for a grace period, so that a client that restarts finds its data flowing, and is cancelled then. A lease belongs
to the run of the client that made it, so that what a restarted client does not ask for again ends, too. Leases that
their clients want to outlive them (`keep`) stay. This module must not know how liveness is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ibbridge.protocol.errors import CommandRefused
from ibbridge.subscriptions.state import SubscriptionState
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ibbridge.clock import Clock
    from ibbridge.codec.schema import Request
    from ibbridge.requests.request import CommandId
    from ibbridge.requests.service import RequestService
    from ibbridge.subscriptions.registry import Subscription, SubscriptionRegistry
    from ibbridge.subscriptions.singleton_streams import SingletonStreams


LEAST_TRIMMED = 1_000
"""Leases that the table may have before it forgets those that have ended."""


class Presences(Protocol):
    """Clients that have said that they live."""

    def is_known(self, client: str) -> bool:
        """Return True if the client has said that it lives, and is not gone."""

    def run_of(self, client: str) -> int:
        """Return the number of a client's present run."""

    def take_ended(self) -> Iterable[tuple[str, int]]:
        """Return the clients whose runs have ended since the last call, and the number of the last run of each."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Lease of a subscription.

    `since` is in µs since 1970 UTC. `keep`: the lease outlives its client. `run`: the run of the client that holds it.
    """

    since: int
    keep: bool = False
    run: int = 0


class LeaseTable:
    """Table of leases, by the command that made each and the name of its request."""

    def __init__(self, clock: Clock, liveness: Presences) -> None:
        self._clock = clock
        self._liveness = liveness
        self._leases: dict[tuple[CommandId, str], Lease] = {}
        self._trim_at = LEAST_TRIMMED

    def note(self, command_id: CommandId, request: Request, *, keep: bool = False) -> None:
        """Note that a command has made a lease, or has changed whether the lease outlives its client."""
        key = command_id.named, request.name
        known = self._leases.get(key)
        run = self._liveness.run_of(command_id.client)
        self._leases[key] = Lease(known.since if known else self._clock.utc_us(), keep, run)

    def find(self, command_id: CommandId, request: Request) -> Lease:
        """Return the lease of a command."""
        return self._leases.get((command_id.named, request.name)) or Lease(self._clock.utc_us())

    def ended(self, command_id: CommandId, request: str) -> None:
        """Forget a lease that its client has given up, by the name of its request."""
        self._leases.pop((command_id.named, request), None)

    def trim(self, held: Iterable[tuple[CommandId, str]]) -> None:
        """Forget all leases but those that are `held`."""
        self._leases = {key: lease for key in held if (lease := self._leases.get(key)) is not None}
        self._trim_at = max(LEAST_TRIMMED, 2 * len(self._leases))

    @property
    def is_long(self) -> bool:
        """True if the table has many leases that may have ended."""
        return len(self._leases) > self._trim_at


class Share(NamedTuple):
    """Share of a client in a subscription; `subscription` is None if the subscription carries no request id."""

    command_id: CommandId
    request: Request
    lease: Lease
    topic: str
    subscription: Subscription | None


class Leases(ConnectionListener):
    """Leases of all clients. `grace`: seconds for which a subscription without a holder stays at TWS."""

    def __init__(
        self,
        registry: SubscriptionRegistry,
        singletons: SingletonStreams,
        service: RequestService,
        liveness: Presences,
        grace: float,
    ) -> None:
        self._registry = registry
        self._singletons = singletons
        self._service = service
        self._liveness = liveness
        self._grace = grace
        self._now = 0.0
        self._unheld: dict[Subscription, float] = {}  # the time since when nobody holds it

    # -- views

    def held(self, client: str | None = None) -> Iterator[Share]:
        """Yield the shares of a client, or of all clients."""
        table = self._registry.leases
        for subscription in self._registry.all():
            request = subscription.active.request
            for command_id in sorted(subscription.active.subscribers, key=str):
                if client in (None, command_id.client):
                    yield Share(command_id, request, table.find(command_id, request), subscription.topic, subscription)
        for command_id, request, topic in self._singletons.shares():
            if client in (None, command_id.client):
                yield Share(command_id, request, table.find(command_id, request), topic, None)

    def describe(self, client: str | None = None) -> list[dict[str, Any]]:
        """Return the leases of a client, or of all clients, for the command `leases`."""
        return [
            {
                "client": each.command_id.client,
                "id": each.command_id.id,
                "request": each.request.name,
                "topic": each.topic,
                "since": each.lease.since,
                "keep": each.lease.keep,
                "unbounded": self._is_unbounded(each),
                "state": each.subscription.state.value if each.subscription else None,
            }
            for each in self.held(client)
        ]

    def _is_unbounded(self, held: Share) -> bool:
        """Return True if nothing but a cancel ends a lease: its client has never said that it lives."""
        return not held.lease.keep and not self._liveness.is_known(held.command_id.client)

    def summary(self) -> dict[str, int]:
        """Return the numbers of leases for `status`."""
        every = [*self.held()]
        return {
            "leases": len(every),
            "unbounded": sum(map(self._is_unbounded, every)),
            "keep": sum(each.lease.keep for each in every),
            "unheld": len(self._unheld),
        }

    # -- ends

    def release(self, client: str, identifier: str | int | None = None) -> int:
        """End the leases of a client, or the lease that one command made, at once. Return how many have ended.

        Raise `CommandRefused` if there is none.
        """
        found = [each for each in self.held(client) if identifier in (None, each.command_id.id, str(identifier))]
        if identifier is not None:
            found = [each for each in found if str(each.command_id.id) == str(identifier)]
        if not found:
            which = "" if identifier is None else f" that the command {identifier!a} made"
            raise CommandRefused("E_ARG", f"{client} holds no lease{which}; `leases` lists all")
        for each in found:
            self._end(each, at_once=True)
        return len(found)

    def _end(self, held: Share, *, at_once: bool) -> None:
        if held.subscription is None:
            self._singletons.give_up(held.request, held.command_id)
            return
        self._service.leave(held.subscription.active, held.command_id)
        if not held.subscription.active.subscribers:
            if at_once or held.subscription.state is SubscriptionState.WAITING:
                self._service.stop(held.subscription.active)
            else:
                self._unheld[held.subscription] = self._now

    def tick(self, now: float) -> None:
        """End the leases of runs that are over, and cancel what nobody has held for the grace period."""
        self._now = now
        for client, last in self._liveness.take_ended():
            for each in [*self.held(client)]:
                if not each.lease.keep and each.lease.run <= last:
                    self._end(each, at_once=False)
        self._cancel_unheld(now - self._grace)
        if self._registry.leases.is_long:
            self._registry.leases.trim([(each.command_id.named, each.request.name) for each in self.held()])

    def _cancel_unheld(self, before: float) -> None:
        """Cancel the subscriptions that nobody has held since `before`, as long as TWS takes the cancels."""
        for subscription, since in [*self._unheld.items()]:
            active = subscription.active
            if active.ended or active.subscribers:
                del self._unheld[subscription]
            elif since <= before:
                try:
                    self._service.stop(active)
                except CommandRefused:
                    return
                del self._unheld[subscription]

    def connection_lost(self) -> None:
        """Forget the subscriptions that nobody holds: TWS has none of them any more."""
        for subscription in [*self._unheld]:
            if not subscription.active.subscribers:
                self._service.stop(subscription.active)
        self._unheld.clear()
