"""The configuration model: a frozen tree of settings.

One dataclass field is one setting, with its default, its check and its reason. Each part of the program gets its own
branch (`Bus(config.bus)`), never the tree. The module must not know files, or other parts of the program.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.config import validators
from ibbridge.security.access import is_near
from ibbridge.security.identity import NO_ROLE
from ibbridge.security.policy import DEFAULTS
from ibbridge.security.runtime_directory import RUNTIME_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ibbridge.config.maintenance_windows import Window
    from ibbridge.security.access import KnownClient
    from ibbridge.security.policy_terms import Terms

Attribute: TypeAlias = str | int | float | bool


class ConfigError(Exception):
    """Invalid configuration: `faults` has a line for each fault, and so does str()."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def _key(default: object, check: validators.Check, why: str) -> Any:
    """Return the field of a setting: its default, its check, and the line about it in the annotated file."""
    return field(default=default, metadata={"check": check, "why": why})


class Section:
    """Group of settings. Its docstring stands above the group in the annotated file."""

    __slots__ = ()

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield settings that are each valid, but contradict each other: their names, and the fault of the first.

        The name of a setting in a section below has the section in front (`tws.client_id`).
        """
        yield from ()


@dataclass(frozen=True, slots=True)
class TwsConfig(Section):
    """The connection to TWS or IB Gateway."""

    host: str = _key(
        "127.0.0.1", validators.host, "The host on which TWS or IB Gateway listens. The connection is not encrypted."
    )
    port: int = _key(
        4002, validators.port, "The API port: IB Gateway paper 4002, live 4001; TWS paper 7497, live 7496."
    )
    client_id: int = _key(
        1,
        validators.whole(0, 2**31 - 1),
        "The API client id. Orders belong to the client id that placed them: keep the id, and use it in no other "
        "program. TWS tells client id 0 of orders made by hand, too (orders.bind_manual).",
    )
    market_data_type: int = _key(
        1,
        validators.whole(1, 4),
        "The type of market data for all clients of this daemon: 1 live, 2 frozen, 3 delayed, 4 delayed and frozen.",
    )
    follow_port: bool = _key(
        default=False,
        check=validators.flag,
        why="true: follow TWS to a new API port when it reports one (1300). false: log the new port, and go on trying "
        "tws.port.",
    )
    resolve_timeout: float = _key(10.0, validators.seconds(), "Seconds to look up the host's name.")
    connect_timeout: float = _key(10.0, validators.seconds(), "Seconds for TCP to connect.")
    handshake_timeout: float = _key(
        10.0,
        validators.seconds(),
        "Seconds for TWS to send its version. TWS waits for its user if it must ask whether to accept the connection.",
    )
    start_timeout: float = _key(
        30.0, validators.seconds(), "Seconds after that for TWS to send the next order id and the accounts."
    )
    sync_timeout: float = _key(
        30.0, validators.seconds(), "Seconds after that to send the requests that each new connection needs."
    )
    probe_after: float = _key(
        10.0,
        validators.seconds(),
        "Seconds without a byte from TWS after which the daemon probes TWS (reqCurrentTime).",
    )
    silence_timeout: float = _key(
        30.0,
        validators.seconds(),
        "Seconds without a byte from TWS after which the connection is closed as dead; also the seconds for which TWS "
        "may take none of the bytes written to it.",
    )
    stable_after: float = _key(
        10.0,
        validators.seconds(),
        "Seconds for which a connection must be ready to end a row of failures: a connection that is lost earlier "
        "counts as one more failure, and the pauses go on growing.",
    )
    client_id_retry: float = _key(
        10.0,
        validators.seconds(),
        "Least pause in seconds after TWS reports that the client id is in use (326); doubled each time, up to 120.",
    )
    reconnect_min: float = _key(
        1.0, validators.seconds(), "Seconds before the first try to reconnect; doubled after each failure."
    )
    reconnect_max: float = _key(
        30.0, validators.seconds(), "Longest pause in seconds between two tries. The tries go on for ever."
    )
    restart_windows: tuple[Window, ...] = _key(
        (),
        validators.windows,
        "Windows in which TWS or IB's servers are restarted, each as HH:MM-HH:MM ZONE, with days in front if not every "
        "day: [Sun-Fri 23:45-00:45 America/New_York]. In a window orders are refused, and an absent TWS raises no "
        "alarm.",
    )
    not_ready_alarm: float = _key(
        60.0,
        validators.seconds(),
        "Seconds without a ready connection to TWS, outside these windows, after which an alarm is raised.",
    )
    connect_options: str = _key("", validators.printable, "Text sent with the offered versions, such as +PACEAPI.")
    optional_capabilities: str = _key("", validators.printable, "Text sent when the API starts; IB documents none.")
    encoding: str = _key(
        "utf-8",
        validators.encoding,
        "The encoding of text from TWS. With utf-8, text that is no UTF-8 is read as cp1252 (Windows, Western). If the "
        "host of TWS has another code page, name that one (cp1250, gbk, cp932): all text is then read in it.",
    )
    lines: int = _key(
        100,
        validators.whole(1, 100_000),
        "Market data lines of the user: 100, or more with equity, commissions or booster packs. The daemon refuses "
        "subscriptions above that (E_LINES), and says who holds the lines.",
    )
    max_version: int = _key(
        226, validators.whole(176, 226), "The newest server version to offer. A lower one may help with an odd gateway."
    )
    read_chunk: int = _key(
        32_768,
        validators.whole(4_096, 1_048_576),
        "Bytes of one read from TWS. In a burst a command waits for one read: about 8 ms with 65536, about 5 ms with "
        "16384.",
    )

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: D102 -- the base says what it is
        if self.reconnect_max < self.reconnect_min:
            yield (
                ("reconnect_max", "reconnect_min"),
                f"must not be less than reconnect_min: {self.reconnect_max:g} < {self.reconnect_min:g}",
            )
        if self.silence_timeout <= self.probe_after:
            yield (
                ("silence_timeout", "probe_after"),
                f"must be more than probe_after: {self.silence_timeout:g} <= {self.probe_after:g}",
            )


@dataclass(frozen=True, slots=True)
class PacingConfig(Section):
    """The rate of messages to TWS, for all clients together. TWS cuts off a connection that sends too many."""

    rate: int = _key(
        45,
        validators.whole(10, 1_000_000),
        "Messages in any second, including cancels and orders. TWS takes half as many as the user has market data "
        "lines: 50 with the usual 100.",
    )
    share: int = _key(
        500,
        validators.whole(1, 1_000_000),
        "Messages of one client and one pace (cancels, orders, history, others) that may wait to be sent; more are "
        "refused (E_PACING).",
    )
    most: int = _key(
        10_000,
        validators.whole(100, 1_000_000),
        "Messages of all clients together that may wait to be sent. A long message counts once more for each 2 KiB. "
        "When half of them wait, the clients with the most waiting messages are refused (E_PACING), others are not.",
    )


@dataclass(frozen=True, slots=True)
class BusConfig(Section):
    """The ZeroMQ sockets. Who may do what at each endpoint is in `security`."""

    pub: tuple[str, ...] = _key(
        (f"ipc://{RUNTIME_DIRECTORY}/pub", "tcp://127.0.0.1:5555"),
        validators.endpoints,
        "The endpoints for messages, one or a list: ipc:///PATH, which the directory's permissions protect, and "
        "tcp://ADDRESS:PORT. $RUNTIME_DIRECTORY is systemd's, or else $XDG_RUNTIME_DIR/ibbridge, or else "
        "~/.local/state/ibbridge/run. Addresses that other machines can reach need keys: see security.clients.",
    )
    rep: tuple[str, ...] = _key(
        (f"ipc://{RUNTIME_DIRECTORY}/rep", "tcp://127.0.0.1:5556"),
        validators.endpoints,
        "The endpoints for commands, one or a list.",
    )
    prefix: str = _key(
        "", validators.prefix, "Prefix of every topic, for relays that merge several daemons; empty for none."
    )
    sndhwm: int = _key(
        100_000,
        validators.whole(1, 10_000_000),
        "Messages kept for a slow subscriber. Beyond that the subscriber loses messages, as its sequence numbers show.",
    )
    sndbytes: int = _key(
        268_435_456,
        validators.whole(1_048_576, 2**40),
        "Bytes kept for a slow subscriber. Beyond that the subscriber is disconnected.",
    )
    max_peers: int = _key(
        1_000,
        validators.whole(1, 1_000_000),
        "Connections to each endpoint. Beyond that the oldest that has said nothing goes for a new one, or the new one "
        "is refused. The limit is lower if the system gives few file descriptors: 64 are kept for TWS, store and log; "
        "of the rest bus.rep gets an eighth, bus.pub the others, in equal shares for their endpoints.",
    )
    linger_ms: int = _key(
        1_000, validators.whole(0, 60_000), "Milliseconds to deliver queued messages when the daemon stops."
    )
    max_request: int = _key(
        1_048_576, validators.whole(1_024, 67_108_864), "Bytes of a command. A longer one is refused unread."
    )
    heartbeat: float = _key(
        1.0,
        validators.seconds(0.1, 60),
        "Seconds between heartbeats. After three missed heartbeats clients take the daemon for dead.",
    )

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: D102 -- the base says what it is
        for pub, rep in itertools.product(self.pub, self.rep):
            if validators.same_endpoint(pub, rep):
                yield ("rep", "pub"), f"must not be where messages are published (bus.pub): {rep}"


@dataclass(frozen=True, slots=True)
class SecurityConfig(Section):
    """Clients of the bus and their rights (docs/security.md). `ibbridge check` says who may do what at an endpoint."""

    trust_loopback: bool = _key(
        default=False,
        check=validators.flag,
        why="true: every program of this machine that connects to a loopback tcp endpoint has all rights, orders "
        "included. For demonstrations, and for machines with one user.",
    )
    loopback_role: str = _key(
        "data",
        validators.role,
        "The role of programs that connect to a loopback tcp endpoint without a key, unless trust_loopback is true: "
        "observer, data, trader or admin; none refuses them.",
    )
    ipc_role: str = _key(
        "admin",
        validators.role,
        "The role of users who connect over ipc and are no client below: the directory's permissions have decided "
        "already who can. none refuses them.",
    )
    plain: tuple[str, ...] = _key(
        (),
        validators.plain_endpoints,
        "Loopback tcp endpoints that stay open without a key, with loopback_role, although clients have keys. Without "
        "this list every tcp endpoint then demands a key (CURVE).",
    )
    keys: str = _key(
        "",
        validators.path,
        "The directory with the server's keys, which `ibbridge keygen --server` makes. Empty: keys in systemd's "
        "ConfigurationDirectory=, or else ~/.config/ibbridge/keys.",
    )
    clients: str | tuple[KnownClient, ...] = _key(
        (),
        validators.clients,
        "Clients that are known by a key or by a uid over ipc: [{name: alpha, role: trader, key: '...'}, {name: desk, "
        "role: observer, uid: 1001}]; acts_as: [NAME, PATTERN] are further names that a client may use. Or a directory "
        "of NAME.key certificates, as `ibbridge keygen NAME --role ROLE` makes them.",
    )
    audit_mb: int = _key(
        128,
        validators.whole(1, 1_000_000),
        "Megabytes of one file of the audit, in the directory `audit` of the store. An order takes about 2 kB.",
    )
    audit_files: int = _key(
        32, validators.whole(2, 1_000_000), "Files of the audit that are kept. Beyond that the oldest is deleted."
    )
    roles: Mapping[str, Terms] = field(
        default_factory=dict,
        metadata={
            "check": validators.roles,
            "why": "Roles of your own, and changes of those that are there (docs/security.md). A policy has like, "
            "commands, topics, accounts, symbols, security_types, exchanges, currencies, a list deny_... beside each, "
            "acts_as and limits. A client's entry may have them, too. Whatever is not allowed is refused. Such as:",
            "example": "desk: {like: trader, accounts: [DU1, 'DF*'], symbols: [ES, MES]}",
        },
    )

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: D102 -- the base says what it is
        known = {*DEFAULTS, *self.roles}
        for setting in ("loopback_role", "ipc_role"):
            if (role := getattr(self, setting)) not in {*known, NO_ROLE}:
                yield (setting,), f"there is no role {role!a}; there are {', '.join(sorted(known))}, and none"
        for client in self.clients if isinstance(self.clients, tuple) else ():
            if client.role not in known:
                fault = f"client {client.name}: there is no role {client.role!a}; there are {', '.join(sorted(known))}"
                yield ("clients", "roles"), fault


@dataclass(frozen=True, slots=True)
class RingConfig(Section):
    """The replay buffer in memory: the newest market data, responses and news, for subscribers that missed some."""

    messages: int = _key(500_000, validators.whole(1_000, 100_000_000), "Most messages kept.")
    bytes: int = _key(134_217_728, validators.whole(1_048_576, 2**40), "Most bytes of memory for these messages.")


@dataclass(frozen=True, slots=True)
class StreamsConfig(Section):
    """The detection of stalled subscriptions, which are silent although data should come, and are requested again."""

    silent_after: float = _key(
        180.0,
        validators.seconds(15, 86_400),
        "Seconds without data after which a subscription that had data is requested again, while its market is open "
        "and IB's farms are up. Ten times as long if the market's hours are not known.",
    )
    resubscribe_per_minute: int = _key(
        6, validators.whole(0, 600), "Most subscriptions requested again for silence in any minute; 0 for none ever."
    )
    grace: float = _key(
        10.0,
        validators.seconds(0.1, 3_600),
        "Seconds for which TWS keeps a subscription after its last client is gone, so that a client that restarts "
        "finds its data flowing.",
    )
    lines_per_client: int = _key(
        0, validators.whole(0, 100_000), "Most lines of one kind for one client; 0 for no such limit."
    )


@dataclass(frozen=True, slots=True)
class StoreConfig(Section):
    """The event store: orders, fills, accounts and the daemon's own messages are stored before they are published."""

    path: str = _key(
        "",
        validators.path,
        "The directory of the store, for this daemon alone, made if it is missing. Empty: the one that systemd gives "
        "(StateDirectory=), or else ~/.local/state/ibbridge/PORT-CLIENT_ID, from tws.port and tws.client_id.",
    )
    days: float = _key(
        7.0,
        validators.days,
        "Days for which messages are kept for `replay`. Only time in which the daemon runs counts, by a clock that "
        "cannot be set. The keys of orders are kept for ever.",
    )
    max_bytes: int = _key(
        4_294_967_296,
        validators.whole(16_777_216, 2**50),
        "Most bytes of the store. At 80 % an alarm is raised. Above 100 % the oldest messages are removed before "
        "store.days are over, those about orders last. The keys of orders stay.",
    )
    sync: str = _key(
        "normal",
        validators.choice("normal", "full"),
        "normal: published messages survive the end of the process. full: they also survive a loss of power, at the "
        "price of a write to the disk for each read from TWS with such messages.",
    )
    commit_timeout: float = _key(
        0.5,
        validators.seconds(0.05, 60),
        "Seconds for which the whole daemon waits for a disk that does not answer. After that the daemon goes on "
        "without the disk, but refuses orders until the disk answers.",
    )
    slow: float = _key(
        0.25,
        validators.seconds(),
        "Seconds that a commit may take before an alarm is raised: the whole daemon waits for a commit.",
    )


# Requests that concern the whole connection, and so everyone who uses it.
RESTRICTED = (
    "reqIds",
    "reqAutoOpenOrders",
    "reqMarketDataType",
    "setServerLogLevel",
    "replaceFA",
    "updateConfig",
    "reqGlobalCancel",
    "verifyRequest",
    "verifyMessage",
    "verifyAndAuthRequest",
    "verifyAndAuthMessage",
)


@dataclass(frozen=True, slots=True)
class CommandsConfig(Section):
    """The commands that clients may send."""

    allow: tuple[str, ...] = _key(
        (),
        validators.names(RESTRICTED),
        "Requests that concern the whole connection, and that clients may send all the same. There are: "
        f"{', '.join(RESTRICTED)}.",
    )
    unknown_words: str = _key(
        "refuse",
        validators.choice("refuse", "pass"),
        "The treatment of values outside IB's lists (docs/messages.md): order types, times in force, security types, "
        "bar sizes and the like. refuse: refuse the command, and name the nearest value. pass: leave it to TWS, if you "
        "need a value that IB has added.",
    )
    order_types: tuple[str, ...] = _key(
        (),
        validators.words,
        "Order types that IB has added since, and that are taken besides IB's list (docs/messages.md) while "
        "unknown_words is refuse: [TYPE A, TYPE B].",
    )


@dataclass(frozen=True, slots=True)
class OrdersConfig(Section):
    """The comparison of orders with those of TWS, and the orders that are made by hand there."""

    reconcile_minutes: int = _key(
        15,
        validators.whole(1, 1_440),
        "Minutes between two comparisons of the orders with those of TWS. They are also compared after each connect, "
        "after an outage of IB's servers, and while nobody knows what became of an order.",
    )
    bind_manual: bool = _key(
        default=False,
        check=validators.flag,
        why="true: TWS gives orders made by hand an order id of the API, so that cancelOrder can cancel them by "
        "permId. TWS does that for client id 0 alone (tws.client_id: 0).",
    )


@dataclass(frozen=True, slots=True)
class LivenessConfig(Section):
    """The life of clients, and what becomes of the orders of a client that is lost (docs/protocol.md, Dead man)."""

    ttl: float = _key(
        15.0,
        validators.seconds(1, 3_600),
        "Seconds without a command after which a client counts as lost that does not say otherwise (hello). A client "
        "whose connections have all closed is lost at once.",
    )
    window: float = _key(
        5.0,
        validators.seconds(0, 3_600),
        "Seconds from the loss of a client until its orders are cancelled, unless the client says otherwise. A client "
        "that comes back within them keeps its orders.",
    )
    cancel_on_disconnect: str = _key(
        "never",
        validators.choice("never", "loss", "logout", "both"),
        "What cancels the orders of clients that say nothing about it: never, the loss of the client, its logout, or "
        "both. With loss, clients must send commands (alive) at least once in ttl seconds.",
    )
    clients: Mapping[str, str] = field(
        default_factory=dict,
        metadata={
            "check": validators.choices("never", "loss", "logout", "both"),
            "why": "The same for single clients, by name. For instance:",
            "example": "scalper: loss",
        },
    )


@dataclass(frozen=True, slots=True)
class RiskConfig(Section):
    """The limits of orders, which no client can walk round: see docs/risk.md for all of them."""

    mode: str = _key(
        "enforce",
        validators.choice("enforce", "observe"),
        "enforce: refuse an order that is over a limit (E_RISK). observe: let it pass, and publish what would have "
        "been refused (sys.bridge.risk.).",
    )
    warn_at: float = _key(
        0.7,
        validators.share,
        "Part of a limit from which on a warning is published, once each time that the part is reached.",
    )
    base_currency: str = _key(
        "",
        validators.currency,
        "The currency of all limits that are amounts of money, such as USD. Limits of that kind need it.",
    )
    allow_live: tuple[str, ...] = _key(
        (),
        validators.accounts,
        "Live accounts for which orders are taken, by name or pattern: [U1234567], or ['*'] for all. Orders for other "
        "accounts than IB's paper accounts (DU, DF, DI) are refused.",
    )
    all: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={
            "check": validators.limits,
            "why": "Limits of all orders together. For instance:",
            "example": "max_order_quantity: 1000",
        },
    )
    accounts: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict,
        metadata={
            "check": validators.limits_by_name,
            "why": "Limits of each account, by its name or a pattern (DU*). For instance:",
            "example": "DU*: {max_position: 5000, max_open_orders: 15}",
        },
    )
    clients: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict,
        metadata={
            "check": validators.limits_by_name,
            "why": "Limits of each client, by its name or a pattern. For instance:",
            "example": "algo: {max_orders_per_second: 5, symbols: [AAPL, MSFT]}",
        },
    )


@dataclass(frozen=True, slots=True)
class RecordConfig(Section):
    """The recording of all bytes from and to TWS, in files for `ibbridge replay`: see docs/recording.md."""

    directory: str = _key(
        "",
        validators.path,
        "The directory of recordings; empty for no recording. Recordings hold account data: only this user can read "
        "them.",
    )
    file_mb: int = _key(
        256,
        validators.whole(1, 1_000_000),
        "Megabytes of one file, compressed. A new file begins when one is full, and each day (UTC).",
    )
    keep_mb: int = _key(
        10_240,
        validators.whole(2, 100_000_000),
        "Megabytes of all files of this connection. Beyond that the oldest files are deleted.",
    )

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: D102 -- the base says what it is
        if self.keep_mb < 2 * self.file_mb:
            yield ("keep_mb", "file_mb"), f"must be at least twice file_mb: {self.keep_mb} < {2 * self.file_mb}"


@dataclass(frozen=True, slots=True)
class MemoryConfig(Section):
    """The memory that the daemon may use before it disconnects the clients that cause the use."""

    limit_mb: int = _key(
        1_024,
        validators.whole(128, 1_000_000),
        "Megabytes in use above which clients are disconnected, one after the other, the one for whom most is kept "
        "first. At four fifths an alarm is raised. The limit is never less than ring.bytes plus 512 MB.",
    )


@dataclass(frozen=True, slots=True)
class LogConfig(Section):
    """The log on standard error, and so in the journal."""

    level: str = _key("info", validators.choice("debug", "info", "warning", "error"), "debug, info, warning or error.")


@dataclass(frozen=True, slots=True)
class Config(Section):
    """Configuration: all settings of the daemon."""

    tws: TwsConfig = field(default_factory=TwsConfig)
    pacing: PacingConfig = field(default_factory=PacingConfig)
    bus: BusConfig = field(default_factory=BusConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    ring: RingConfig = field(default_factory=RingConfig)
    streams: StreamsConfig = field(default_factory=StreamsConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    commands: CommandsConfig = field(default_factory=CommandsConfig)
    orders: OrdersConfig = field(default_factory=OrdersConfig)
    liveness: LivenessConfig = field(default_factory=LivenessConfig)
    risk: RiskConfig = field(default_factory=RiskConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    log: LogConfig = field(default_factory=LogConfig)
    instruments: Mapping[str, Mapping[str, Attribute]] = field(
        default_factory=dict,
        metadata={
            "check": validators.instruments,
            "why": "Names of your own for contracts: a topic is then md.ES. instead of md.ES-FUT-CME-USD-202612. The "
            "attributes are IB's; with `subscribe: true` the daemon subscribes to the market data from the start. For "
            "instance:",
            "example": "ES: {symbol: ES, secType: FUT, exchange: CME, currency: USD, "
            'lastTradeDateOrContractMonth: "202612"}',
        },
    )

    def contracts(self, *, wanted: bool = False) -> dict[str, dict[str, Any]]:
        """Return the contracts of the instruments by name; with `wanted`, those to subscribe to from the start."""
        return {
            name: validators.bare(given)
            for name, given in self.instruments.items()
            if given.get(validators.SUBSCRIBE) or not wanted
        }

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: D102 -- the base says what it is
        if self.orders.bind_manual and self.tws.client_id != 0:
            yield (
                ("orders.bind_manual", "tws.client_id"),
                f"is for client id 0 alone, and tws.client_id is {self.tws.client_id}",
            )
        for name, endpoints in (("pub", self.bus.pub), ("rep", self.bus.rep)):
            for endpoint in endpoints:
                if not (self.security.clients or is_near(endpoint)):
                    fault = f"other machines can reach {endpoint}, and no client has a key: make keys (ibbridge keygen "
                    fault += "--help) and name them in security.clients, or bind to 127.0.0.1"
                    yield (f"bus.{name}", "security.clients"), fault


def settings(section: type[Section]) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a section by name."""
    return {item.name: item for item in dataclasses.fields(section)}  # type: ignore[arg-type] # each is a dataclass


def section_of(item: dataclasses.Field[Any]) -> type[Section] | None:
    """Return the section class of a field of Config; None if the field is a setting."""
    kind: object = item.default_factory
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None
