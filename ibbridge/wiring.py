"""The wiring of the daemon: builds every part, and connects them. No other module knows them all.

A part gets what it needs through its constructor, and never reaches up: what must be told later travels as a hook on
the message or the request that is told about, or through the one list of connection listeners.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import ibbridge
from ibbridge.bus import Bus, BusError
from ibbridge.clock import SystemClock
from ibbridge.codec import speedups
from ibbridge.commands.audited import AuditedCommands
from ibbridge.commands.builtin import BuiltinCommands
from ibbridge.commands.client_settings import ClientSettings
from ibbridge.commands.endpoint import CommandEndpoint
from ibbridge.commands.executors import Executors
from ibbridge.commands.halt_commands import HaltCommands
from ibbridge.commands.ib_requests import IbRequests
from ibbridge.commands.lease_commands import LeaseCommands
from ibbridge.commands.liveness_commands import LivenessCommands
from ibbridge.commands.order_commands import OrderCommands
from ibbridge.commands.permissions import Permissions
from ibbridge.commands.risk_commands import RiskCommands
from ibbridge.config import credentials, reload
from ibbridge.ib.trading_hours import TradingCalendar
from ibbridge.inbound.connection_events import ConnectionTracker, NoticeHandler
from ibbridge.inbound.dispatcher import Dispatcher, Turn
from ibbridge.inbound.errors import ErrorRouter
from ibbridge.inbound.order_router import OrderRouter
from ibbridge.inbound.publication_plan import PASSED_ON
from ibbridge.inbound.router import Router
from ibbridge.inbound.undecodable import UndecodableMessages
from ibbridge.inbound.unreadable import Unreadable
from ibbridge.monitoring.access_watch import AccessWatch
from ibbridge.monitoring.alarms import Alarms
from ibbridge.monitoring.audit_watch import AuditWatch
from ibbridge.monitoring.bridge_events import BridgeEvents
from ibbridge.monitoring.connection_status import ConnectionStatus
from ibbridge.monitoring.health_checks import HealthChecks, HealthSample, HealthWatch
from ibbridge.monitoring.heartbeat import Heartbeat, collect
from ibbridge.monitoring.perm_id_watch import PermIdWatch
from ibbridge.monitoring.process_health import memory_limit
from ibbridge.monitoring.process_watch import ProcessWatch
from ibbridge.monitoring.reloader import Reloader
from ibbridge.monitoring.setting_takers import AlarmTaker, SecurityTaker
from ibbridge.monitoring.store_watch import StoreWatch
from ibbridge.monitoring.surplus_fields import SurplusFields
from ibbridge.monitoring.watchdog import Watchdog, watchdog_seconds
from ibbridge.orders.acceptance import JournalAcceptance
from ibbridge.orders.book_keeper import BookKeeper
from ibbridge.orders.book_records import BookRecords
from ibbridge.orders.contract_lookup import ContractLookup
from ibbridge.orders.dead_man import DeadMan
from ibbridge.orders.departure import OrderDeparture
from ibbridge.orders.execution_ledger import ExecutionLedger
from ibbridge.orders.foreign_cancel import ForeignCancel
from ibbridge.orders.global_cancel import GlobalCancel
from ibbridge.orders.groups import OrderGroups
from ibbridge.orders.halt_check import HaltCheck
from ibbridge.orders.journal import OrderJournal
from ibbridge.orders.known_contracts import KnownContracts
from ibbridge.orders.limit_taker import LimitTaker
from ibbridge.orders.market_facts import PublishedMarkets
from ibbridge.orders.mass_cancels import HALT, MassCancels
from ibbridge.orders.modification import OrderModification
from ibbridge.orders.notifications import OrderNotifications
from ibbridge.orders.order_accounts import OrderAccounts
from ibbridge.orders.order_canceller import OrderCanceller
from ibbridge.orders.order_certainty import OrderCertainty
from ibbridge.orders.order_keys import OrderKeys, key_name
from ibbridge.orders.order_states import OrderStates
from ibbridge.orders.owner_positions import OwnerPositions
from ibbridge.orders.placement import OrderPlacement
from ibbridge.orders.position_rows import PositionRows
from ibbridge.orders.proposals import Proposals
from ibbridge.orders.reconciliation import Reconciliation
from ibbridge.orders.reconciliation_schedule import ReconciliationSchedule
from ibbridge.orders.reducing import ReducingOrders
from ibbridge.orders.registry import OrderRegistry
from ibbridge.orders.risk_control import OrderGates, RiskControl
from ibbridge.orders.risk_reports import RiskReports
from ibbridge.orders.tws_lists import TwsLists
from ibbridge.orders.unreported import UnreportedOrders
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.recording import writer
from ibbridge.requests.command_index import CommandIndex
from ibbridge.requests.delays import HeldRequests
from ibbridge.requests.issuer import RequestIssuer
from ibbridge.requests.notifications import RequestNotifications
from ibbridge.requests.reissue_queue import ReissueQueue
from ibbridge.requests.request_factory import RequestFactory
from ibbridge.requests.service import RequestService
from ibbridge.requests.timeouts import RequestTimeouts
from ibbridge.requests.tracker import RequestTracker
from ibbridge.risk import settings as risk_settings
from ibbridge.risk.book import TradingBook
from ibbridge.risk.evaluation import RiskGate
from ibbridge.risk.gate import TradingGate
from ibbridge.risk.halt import Halts
from ibbridge.risk.liveness import Liveness
from ibbridge.security import ways_in
from ibbridge.security.audit import NO_AUDIT, CommandAudit
from ibbridge.security.declared_names import DeclaredNames
from ibbridge.security.instrument_rights import InstrumentKeys
from ibbridge.security.policy import Policy
from ibbridge.security.rights import Surroundings
from ibbridge.storage.audit_log import AuditLog
from ibbridge.storage.event_store import EventStore, StoreError
from ibbridge.storage.order_store import OrderStore
from ibbridge.storage.store_faults import StoreFaults
from ibbridge.streams.audience import Audience, Doorman
from ibbridge.streams.envelope import PROTO
from ibbridge.streams.history import MessageHistory
from ibbridge.streams.publisher import Publisher
from ibbridge.subscriptions.configured import ConfiguredSubscriptions
from ibbridge.subscriptions.holdings import Holdings
from ibbridge.subscriptions.leases import Leases, LeaseTable
from ibbridge.subscriptions.line_queue import LineQueue
from ibbridge.subscriptions.lines import Lines
from ibbridge.subscriptions.market_hours import MarketHours
from ibbridge.subscriptions.position_differences import PositionDifferences
from ibbridge.subscriptions.position_lists import PositionLists
from ibbridge.subscriptions.registry import SubscriptionRegistry
from ibbridge.subscriptions.resubscription import Resubscriber
from ibbridge.subscriptions.service import SubscriptionService
from ibbridge.subscriptions.silence_watch import SilenceWatch
from ibbridge.subscriptions.singleton_streams import SingletonStreams
from ibbridge.subscriptions.stall_detector import StallDetector
from ibbridge.subscriptions.stream_gaps import StreamGaps
from ibbridge.tws.connector import TwsConnector
from ibbridge.tws.ib_servers import IbServers
from ibbridge.tws.id_sequence import IdSequence
from ibbridge.tws.send_port import SendPort
from ibbridge.tws.send_queue import SendQueue
from ibbridge.tws.sender import RequestSender
from ibbridge.tws.session import Session
from ibbridge.tws.supervisor import Supervisor
from ibbridge.tws.transport import TcpTransports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibbridge.clock import TimerClock
    from ibbridge.config.model import Config
    from ibbridge.monitoring.log_writer import LogWriter
    from ibbridge.recording.writer import Recorder
    from ibbridge.risk.limits import RiskPolicy
    from ibbridge.security.access import Access
    from ibbridge.security.audit import DaemonAudit
    from ibbridge.security.identity import Peerage
    from ibbridge.tws.connection_listener import ConnectionListener

FAILURES = (BusError, StoreError)
"""Exceptions of parts that cannot be opened, or have failed for good; each is a sentence for the operator."""


class Outside(NamedTuple):
    """Surroundings of the parts, which tests replace: the store, the bus, the transports, the log, and chance."""

    clock: TimerClock
    store: EventStore
    order_store: OrderStore
    bus: Callable[..., Bus] = Bus
    transports: Callable[..., TcpTransports] = TcpTransports
    log_writer: LogWriter | None = None
    jitter: Callable[[], float] = random.random
    peerage: Peerage | None = None
    """The identities of connections; None for those of the bus's own table."""
    reread: Callable[[], Config] | None = None
    """Reads the configuration again; None if there is none to read."""
    audit: DaemonAudit = NO_AUDIT


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams on the bus, and what the daemon says of itself there."""

    publisher: Publisher
    events: BridgeEvents
    alarms: Alarms
    halts: Halts
    liveness: Liveness
    order_keys: OrderKeys
    journal: OrderJournal
    perm_ids: PermIdWatch


@dataclass(frozen=True, slots=True)
class Tws:
    """The way to TWS."""

    session: Session
    supervisor: Supervisor
    send_queue: SendQueue
    port: SendPort
    ids: IdSequence
    sender: RequestSender
    servers: IbServers
    status: ConnectionStatus


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests and subscriptions of clients."""

    tracker: RequestTracker
    notifications: RequestNotifications
    issuer: RequestIssuer
    factory: RequestFactory
    reissue_queue: ReissueQueue
    timeouts: RequestTimeouts
    held: HeldRequests
    registry: SubscriptionRegistry
    singletons: SingletonStreams
    watch: SilenceWatch
    resubscriber: Resubscriber
    service: RequestService
    leases: Leases
    line_queue: LineQueue
    subscriptions: SubscriptionService
    configured: ConfiguredSubscriptions
    calendar: TradingCalendar


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders of clients."""

    registry: OrderRegistry
    notifications: OrderNotifications
    gate: TradingGate
    unreported: UnreportedOrders
    placement: OrderPlacement
    modification: OrderModification
    groups: OrderGroups
    states: OrderStates
    reconciliation: ReconciliationSchedule
    positions: OwnerPositions
    differences: PositionDifferences
    acceptance: JournalAcceptance
    risk: RiskControl


@dataclass(frozen=True, slots=True)
class Guards:
    """Parts that decide who may connect, and what each client may do."""

    access: Access
    peerage: Peerage
    policy: Policy
    permissions: Permissions
    audience: Audience


@dataclass(frozen=True, slots=True)
class Inbound:
    """The way of a message of TWS to its topic."""

    router: Router
    unreadable: Unreadable
    undecodable: UndecodableMessages


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a daemon, assembled."""

    streams: Streams
    tws: Tws
    requests: Requests
    orders: Orders
    listeners: Sequence[ConnectionListener]
    connector: TwsConnector
    dispatcher: Dispatcher
    inbound: Inbound
    ib_requests: IbRequests
    commands: AuditedCommands
    bus: Bus
    heartbeat: Heartbeat
    surplus: SurplusFields
    store: EventStore
    store_watch: StoreWatch
    health_checks: HealthChecks
    watchdog: Watchdog
    recorder: Recorder | None
    mass_cancels: MassCancels
    dead_man: DeadMan
    reloader: Reloader


def assemble(config: Config, outside: Outside) -> Parts:
    """Build the parts from their branches of the configuration."""
    clock, store = outside.clock, outside.store
    turn = Turn(clock)
    streams = _streams(config, outside, turn.send)
    tws = _tws(config, streams, outside)
    names: dict[str, str] = {instrument_key(contract): name for name, contract in config.contracts().items()}
    requests = _requests(config, streams, tws, names, clock)
    orders = _orders(config, streams, tws, requests, outside)
    settings = ClientSettings(tws.sender, tws.session, tws.status, bind_manual=config.orders.bind_manual)
    surplus = SurplusFields(tws.port)
    order_router = OrderRouter(
        streams.publisher,
        requests.tracker,
        orders.registry,
        ExecutionLedger(streams.journal, streams.publisher, orders.positions, clock, orders.risk.keeper),
    )
    foreign_cancel = ForeignCancel(tws.sender, orders.registry, orders.notifications)
    ib_requests = _ib_requests(config, tws, requests, orders, (settings, foreign_cancel))
    mass_cancels, dead_man = _cancels(streams, tws, orders, foreign_cancel, outside)
    listeners = (*_listeners(tws, requests, orders, settings, surplus), order_router, mass_cancels)
    further = {
        **HaltCommands(streams.halts, mass_cancels, OrderAccounts(tws.session), orders.risk.keeper, clock).does,
        **LivenessCommands(streams.liveness).does,
        **LeaseCommands(requests.leases, requests.registry.lines).does,
        **RiskCommands(orders.risk.reports).does,
        "reload": lambda _, client: reloader.reload(client),
    }
    builtin = BuiltinCommands(streams.publisher, orders.acceptance, lambda: collect(status), further, streams.liveness)
    guards = _guards(config, streams, tws, orders, outside)
    commands = AuditedCommands(
        CommandEndpoint(streams.publisher, ib_requests, builtin, clock, guards.permissions),
        outside.audit,
        guards.peerage,
        orders.risk.reports.audit,
    )
    bus = outside.bus(config.bus, commands, guards.audience, guards.access)
    guards.audience.connect(bus)
    turn.connect(streams.publisher, bus)

    inbound = _inbound(streams, requests, orders, order_router, clock)
    notices = NoticeHandler(tws.supervisor, tws.send_queue, requests.resubscriber, streams.publisher, clock)
    connection = ConnectionTracker(tws.sender, orders.registry, notices, tws.status, listeners)
    dispatcher = Dispatcher(streams.publisher, inbound.router, connection, inbound.undecodable, turn)
    recorder = writer.configured(config.record, config.tws)
    transports = outside.transports(config.tws, recorder, PASSED_ON, clock)
    connector = TwsConnector(tws.supervisor, tws.port, transports, dispatcher, clock)

    store_watch = StoreWatch(store, streams.events, clock)
    health_checks = HealthChecks(streams.alarms, config.tws.not_ready_alarm, config.store.slow, clock.monotonic())
    sample = partial(_sample, config, tws.session, outside, orders, (mass_cancels, dead_man))
    takers = (
        AlarmTaker(orders.gate, health_checks),
        SecurityTaker(guards.access, guards.policy, guards.audience, bus),
        LimitTaker(orders.risk, limits_of),
    )
    reloader: Reloader = Reloader(config, outside.reread, takers, streams.events, outside.audit)
    health = HealthWatch(health_checks, sample, orders.gate.window, clock)
    process = ProcessWatch(
        streams.alarms, memory_limit(config.memory.limit_mb, config.ring.bytes), bus.shed, outside.log_writer, clock
    )
    work = (
        bus.check,
        AccessWatch(guards.access, outside.audit).tick,
        store_watch.tick,
        AuditWatch(outside.audit, streams.alarms, streams.publisher, clock).tick,
        orders.risk.tick,
        streams.journal.tick,
        orders.registry.trim,
        tws.ids.tick,
        streams.halts.tick,
        lambda: dead_man.tick(bus.connected),
        inbound.undecodable.tick,
        streams.perm_ids.tick,
        health.tick,
        transports.restock,
        process.tick,
        lambda: _tick(listeners, clock.monotonic()),
        commands.tick,
        streams.publisher.tick,
        guards.audience.tick,
    )
    signs = {
        "bus": bus.standstill,
        "store": lambda: store.standstill,
        "order journal": lambda: outside.order_store.standstill,
    }
    watchdog = Watchdog(signs, watchdog_seconds())
    says = _heartbeat_sections(streams, tws, requests, store_watch, clock)
    heartbeat = Heartbeat(streams.publisher, work, says, guards.audience, clock)
    status: Mapping[str, Callable[[], Any]] = {
        **_process_sections(clock),
        "tws": lambda: tws.status.metrics(tws.port.unsent),
        "published": lambda: streams.publisher.offset,
        "store": store.metrics,
        "journal": outside.order_store.metrics,
        "audit": outside.audit.metrics,
        "record": lambda: recorder.status() if recorder else None,
        "ring": streams.publisher.ring.metrics,
        "halt": lambda: streams.halts.state,
        "halts": lambda: streams.halts.listed,
        "alarms": lambda: streams.alarms.raised,
        "log": lambda: outside.log_writer.metrics() if outside.log_writer else None,
        "pacing": lambda: tws.send_queue.metrics(clock.monotonic()),
        "requests": lambda: len(requests.tracker),
        "lines": requests.registry.lines.summary,
        "leases": requests.leases.summary,
        "orders": lambda: len(orders.registry),
        "counts": lambda: {**inbound.undecodable.counts(), **commands.counts, **_bus_counts(bus)},
        "instruments": lambda: names,
        "surplusFields": surplus.counts,
    }
    return Parts(
        streams, tws, requests, orders, listeners, connector, dispatcher, inbound, ib_requests, commands,
        bus, heartbeat, surplus, store, store_watch, health_checks, watchdog, recorder,
        mass_cancels, dead_man, reloader,
    )  # fmt: skip


def _ib_requests(
    config: Config, tws: Tws, requests: Requests, orders: Orders, others: tuple[ClientSettings, ForeignCancel]
) -> IbRequests:
    """Return the executor of IB's requests. `others` execute settings, and cancels of orders of nobody here."""
    settings, foreign_cancel = others
    global_cancel = GlobalCancel(tws.sender, orders.placement, requests.notifications, requests.factory)
    order_commands = OrderCommands(
        orders.placement, orders.modification, orders.groups, orders.registry, orders.reconciliation
    )
    executors = Executors(
        orders.placement,
        global_cancel,
        requests.service,
        requests.subscriptions,
        settings,
        order_commands,
        foreign_cancel,
    )
    return IbRequests(tws.sender, executors, config.commands.allow)


def _inbound(
    streams: Streams, requests: Requests, orders: Orders, order_router: OrderRouter, clock: TimerClock
) -> Inbound:
    errors = ErrorRouter(
        streams.publisher, requests.tracker, requests.notifications, orders.registry, requests.resubscriber
    )
    unreadable = Unreadable(requests.tracker, errors, orders.registry, orders.notifications, requests.singletons)
    return Inbound(
        Router(streams.publisher, requests.tracker, order_router, errors, requests.singletons),
        unreadable,
        UndecodableMessages(streams.publisher, unreadable, streams.alarms, clock),
    )


def _guards(config: Config, streams: Streams, tws: Tws, orders: Orders, outside: Outside) -> Guards:
    """Return the parts that decide who may do what."""
    access = credentials.access(config.security)
    peerage = outside.peerage or access
    keys = InstrumentKeys(config.contracts(), partial(_named, orders.risk.keeper.proposals.contracts))
    around = Surroundings(
        config.bus.prefix, keys, lambda: tws.session.accounts, ways_in.way(config.bus.pub, config.bus.rep)
    )
    taken = "its client name is used by a client with more rights"
    names = DeclaredNames(partial(_has_orders, orders.registry), lambda: audience.end_changed(taken))
    clients = {client.name: client.policy for client in access.rules.clients}
    policy = Policy(config.security.roles, clients, around, names)
    permissions = Permissions(peerage, policy, partial(_contract_of, orders.registry), keys, outside.audit)
    audience = Audience(streams.publisher, Doorman(peerage, policy, outside.audit), outside.clock)
    return Guards(access, peerage, policy, permissions, audience)


def _named(contracts: KnownContracts, con_id: int) -> Mapping[str, Any] | None:
    """Return the contract with a conId as TWS has named it."""
    known = contracts.by_id(con_id)
    return known.contract if known is not None else None


def _has_orders(registry: OrderRegistry, owner: str) -> bool:
    """Return True if a client has ever placed an order, or if the journal cannot say."""
    page, _ = registry.journal.list_orders(owner, "", 1)
    return page is None or bool(page)


def _contract_of(registry: OrderRegistry, owner: str, key: str) -> Mapping[str, Any] | None:
    """Return the contract of an order; None if there is no such order."""
    order = registry.find(owner, key)
    return order.args.get("contract") if order is not None else None


def _streams(config: Config, outside: Outside, send: Callable[[list[bytes]], None]) -> Streams:
    clock, store = outside.clock, outside.store
    order_keys = OrderKeys(config.tws.client_id, store)
    journal = OrderJournal(outside.order_store)
    publisher = Publisher(
        clock.utc_us(),  # until the store gives the epoch
        send,
        config.bus.prefix,
        MessageHistory(config.ring.messages, config.ring.bytes, store, key_name, journal.commit_records),
        config.bus.heartbeat,
    )
    events = BridgeEvents(publisher, clock)
    alarms = Alarms(events.alarm)
    halts = Halts(store, events.halt)
    liveness = Liveness(config.liveness, store, clock.monotonic)
    return Streams(publisher, events, alarms, halts, liveness, order_keys, journal, PermIdWatch(alarms, clock))


def _tws(config: Config, streams: Streams, outside: Outside) -> Tws:
    clock = outside.clock
    session = Session(clock.monotonic())
    session.market_data_type = config.tws.market_data_type
    supervisor = Supervisor(config.tws, session, outside.jitter)
    send_queue = SendQueue(config.pacing.rate, config.pacing.share, config.pacing.most)
    port = SendPort(send_queue, streams.journal.commit, clock, outside.audit)
    ids = IdSequence(streams.journal)
    commands = config.commands
    sender = RequestSender(
        port, session, ids, listed=commands.unknown_words == "refuse", order_types=frozenset(commands.order_types)
    )
    status = ConnectionStatus(config.tws, session, supervisor, streams.publisher, clock)
    return Tws(session, supervisor, send_queue, port, ids, sender, IbServers(), status)


def _requests(config: Config, streams: Streams, tws: Tws, names: Mapping[str, str], clock: TimerClock) -> Requests:
    lines = Lines(config.tws.lines, config.streams.lines_per_client)
    registry = SubscriptionRegistry(lines, LeaseTable(clock, streams.liveness))
    tracker = RequestTracker(streams.publisher)
    notifications = RequestNotifications(streams.publisher, tracker, clock)
    issuer = RequestIssuer(tws.sender, tracker)
    factory = RequestFactory(notifications, names, (issuer, registry, lines))
    lists = PositionLists(streams.publisher, tracker, tws.sender, tws.servers)
    singletons = SingletonStreams(tws.sender, notifications, factory, tws.servers, lists)
    reissue_queue = ReissueQueue(issuer, tracker, notifications, registry, singletons)
    timeouts = RequestTimeouts(issuer, tracker, notifications, reissue_queue, tws.servers)
    gaps = StreamGaps(registry, singletons, tracker, notifications, clock)
    calendar = TradingCalendar()
    hours = MarketHours(issuer, tws.servers, calendar, clock)
    detector = StallDetector(config.streams.silent_after, config.streams.resubscribe_per_minute)
    watch = SilenceWatch(registry, gaps, reissue_queue, hours, detector)
    resubscriber = Resubscriber(registry, gaps, reissue_queue, watch, timeouts)
    held = HeldRequests(tws.sender, notifications, clock)
    service = RequestService(factory, issuer, tracker, CommandIndex(), held)
    leases = Leases(registry, singletons, service, streams.liveness, config.streams.grace)
    queue = LineQueue(registry, service, reissue_queue)
    subscriptions = SubscriptionService(service, registry, tracker, factory, singletons)
    configured = ConfiguredSubscriptions(subscriptions, tws.sender, config.contracts(wanted=True))
    return Requests(
        tracker, notifications, issuer, factory, reissue_queue, timeouts, held, registry, singletons, watch,
        resubscriber, service, leases, queue, subscriptions, configured, calendar,
    )  # fmt: skip


def _orders(config: Config, streams: Streams, tws: Tws, requests: Requests, outside: Outside) -> Orders:
    clock = outside.clock
    risk = _risk(config, streams, tws, requests, outside)
    states = OrderStates(streams.journal, streams.order_keys, streams.publisher, clock, risk.keeper)
    registry = OrderRegistry(
        config.tws.client_id,
        states,
        streams.order_keys.find,
        lambda order: streams.perm_ids.report(order.owner, order.key, order.perm_ids),
        binds_manual=config.orders.bind_manual,
    )
    notifications = OrderNotifications(states, streams.publisher, clock)
    lists = TwsLists(requests.issuer, requests.singletons, clock, binds_manual=config.orders.bind_manual)
    reconciliation = Reconciliation(registry, lists, notifications, tws.session, clock)
    every = config.orders.reconcile_minutes * 60.0
    schedule = ReconciliationSchedule(reconciliation, registry, tws.session, streams.events, every)
    acceptance = JournalAcceptance(streams.journal, schedule)
    faults = StoreFaults(outside.store, outside.order_store, outside.audit)
    positions = OwnerPositions(streams.journal, streams.publisher, clock)
    accounts = OrderAccounts(tws.session)
    holdings = Holdings(streams.publisher, requests.singletons.lists, positions)
    halts = HaltCheck(streams.halts, accounts, ReducingOrders(holdings, registry.open_orders, accounts))
    gate = TradingGate(halts, faults, tws.session, config.tws.restart_windows, clock)
    unreported = UnreportedOrders(registry, notifications, clock)
    gates = OrderGates(gate, risk)
    departure = OrderDeparture(tws.sender, registry, gates, notifications, unreported)
    placement = OrderPlacement(tws.sender, registry, gates, notifications, departure)
    modification = OrderModification(tws.sender, registry, gates, notifications, departure)
    groups = OrderGroups(tws.sender, registry, placement, departure, risk)
    differences = PositionDifferences(streams.publisher, requests.singletons.lists, positions, clock)
    return Orders(
        registry, notifications, gate, unreported, placement, modification, groups, states, schedule, positions,
        differences, acceptance, risk,
    )  # fmt: skip


def _cancels(
    streams: Streams, tws: Tws, orders: Orders, foreign_cancel: ForeignCancel, outside: Outside
) -> tuple[MassCancels, DeadMan]:
    canceller = OrderCanceller(
        orders.placement, foreign_cancel, orders.registry, OrderAccounts(tws.session), tws.session
    )
    mass_cancels = MassCancels(canceller, outside.store, streams.events.mass_cancel, outside.clock)
    certainty = OrderCertainty(tws.session, orders.reconciliation, orders.gate)
    return mass_cancels, DeadMan(streams.liveness, orders.registry, mass_cancels, certainty, outside.clock)


def limits_of(config: Config) -> RiskPolicy:
    """Return the limits of a configuration, those of roles and clients included. Raise ConfigError with all faults."""
    rules = credentials.access_rules(config.security)
    return risk_settings.policy(config.risk, risk_settings.of_rights(rules, config.security.roles))


def _risk(config: Config, streams: Streams, tws: Tws, requests: Requests, outside: Outside) -> RiskControl:
    clock = outside.clock
    contracts = KnownContracts()
    names = {str(instrument_key(contract)): name for name, contract in config.contracts().items()}
    facts = PublishedMarkets(streams.publisher, contracts, requests.calendar, requests.registry, names)
    gate = RiskGate(limits_of(config), TradingBook(facts), facts)
    records = BookRecords(streams.journal, gate.dump)
    keeper = BookKeeper(gate, Proposals(contracts, tws.sender), PositionRows(streams.publisher), records, clock)
    lookup = ContractLookup(requests.issuer, contracts, requests.calendar, clock)
    control = RiskControl(
        keeper, facts, lookup, RiskReports(streams.publisher, clock, CommandAudit(outside.audit)), clock
    )
    control.set_policy(gate.policy, config.risk.base_currency)
    return control


def _listeners(
    tws: Tws, requests: Requests, orders: Orders, settings: ClientSettings, surplus: SurplusFields
) -> Sequence[ConnectionListener]:
    """Return the parts that are told of the connection, in the order in which they are told.

    The sender opens before anything is sent, and settings are made before anything is subscribed to. Gaps are published
    before errors, and what is wanted again is queued before the queue is emptied.
    """
    return (
        tws.sender,
        tws.servers,
        orders.registry,
        settings,
        surplus,
        requests.registry,
        requests.tracker,
        requests.issuer,
        requests.resubscriber,
        requests.timeouts,
        requests.singletons,
        requests.reissue_queue,
        requests.watch,
        requests.held,
        requests.leases,
        requests.line_queue,
        requests.configured,
        orders.unreported,
        orders.reconciliation,
        orders.groups,
        orders.differences,
    )


def _tick(listeners: Sequence[ConnectionListener], now: float) -> None:
    for listener in listeners:
        listener.tick(now)


def _sample(
    config: Config, session: Session, outside: Outside, orders: Orders, cancels: tuple[MassCancels, DeadMan]
) -> HealthSample:
    store, journal = outside.store, outside.order_store
    return HealthSample(
        session.proven(config.tws.stable_after),
        session.stage.value,
        session.last_error,
        session.upstream,
        max(store.slowest(), journal.slowest()),
        store.fault,
        store.shortage,
        journal.fault or journal.doubt,
        orders.reconciliation.why,
        cancels[0].overdue(HALT),
        cancels[1].alarm,
    )


def _heartbeat_sections(
    streams: Streams, tws: Tws, requests: Requests, store_watch: StoreWatch, clock: TimerClock
) -> Mapping[str, Callable[[], Any]]:
    return {
        "tws": lambda: tws.session.summary(clock.monotonic()),
        "store": store_watch.summary,
        "halt": lambda: streams.halts.state,
        "halts": lambda: streams.halts.listed,
        "alarms": lambda: [alarm["alarm"] for alarm in streams.alarms.raised],
        "unsent": lambda: tws.port.unsent,
        "lines": requests.registry.lines.summary,
        "pacing": lambda: tws.send_queue.metrics(clock.monotonic()),
    }


def _process_sections(clock: TimerClock) -> Mapping[str, Callable[[], Any]]:
    """Return what `status` says of the process itself."""
    started = clock.monotonic()
    return {
        "version": lambda: ibbridge.__version__,
        "proto": lambda: PROTO,
        "codec": lambda: "compiled" if speedups.IN_USE else "pure",
        "pid": os.getpid,
        "uptime": lambda: round(clock.monotonic() - started, 3),
        "tasks": _tasks,
    }


def _tasks() -> int:
    """Return the number of tasks in the loop; 0 without a loop."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0


def _bus_counts(bus: Bus) -> dict[str, int]:
    return {"notPublished": bus.unsent, "strayFrames": bus.strays, **bus.counts}


def world(config: Config, log_writer: LogWriter | None) -> Outside:
    """Return the surroundings of a daemon: the system's clock, and files in the store's directory."""
    clock, events = SystemClock(), event_store(config)
    return Outside(clock, events, order_store(config, events), log_writer=log_writer, audit=audit_log(config, clock))


def about(config: Config) -> dict[str, Any]:
    """Return what tells one start of the daemon from another: version, process, and the digest of the configuration."""
    return {
        "version": ibbridge.__version__,
        "pid": os.getpid(),
        "uid": os.getuid(),
        "config": reload.digest(config),
    }


def event_store(config: Config) -> EventStore:
    """Return the event store of a configuration, not opened yet."""
    return EventStore(
        directory(config),
        days=config.store.days,
        sync=config.store.sync,
        most_bytes=config.store.max_bytes,
        patience=config.store.commit_timeout,
    )


def order_store(config: Config, events: EventStore | None = None) -> OrderStore:
    """Return the store of the order journal of a configuration, not opened yet, on the disk of an event store."""
    health = events.disk_health if events is not None else None
    return OrderStore(directory(config), patience=config.store.commit_timeout, health=health)


def audit_log(config: Config, clock: TimerClock) -> AuditLog:
    """Return the audit of a configuration, not opened yet."""
    sizes = config.security.audit_mb * 2**20, config.security.audit_files
    return AuditLog(audit_directory(config), clock, sizes=sizes, patience=config.store.commit_timeout)


def audit_directory(config: Config) -> pathlib.Path:
    """Return the directory of the audit: in that of the store."""
    return directory(config) / "audit"


def directory(config: Config) -> pathlib.Path:
    """Return the store's directory: from the configuration, from systemd, or else in the user's home."""
    if config.store.path:
        return pathlib.Path(config.store.path).expanduser()
    if given := os.environ.get("STATE_DIRECTORY"):
        return pathlib.Path(given.split(":")[0])
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return pathlib.Path(home).expanduser() / "ibbridge" / f"{config.tws.port}-{config.tws.client_id}"
