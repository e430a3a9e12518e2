"""The operator's decisions: YAML to a frozen tree, and every fault of it named at once.

One dataclass field is one setting: its default, its check and its reason stand together, and config/ibbridge.yaml is
written from them (`annotated`). Each part of the program is given its own branch (`Bus(config.bus)`), never the tree;
nothing else reads configuration from anywhere. Knows no other part of the program.
"""

from __future__ import annotations

import dataclasses
import difflib
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.config import validators, yaml_document

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping, Sequence

    from ibbridge.config.maintenance_windows import Window

Attribute: TypeAlias = str | int | float | bool


class ConfigError(Exception):
    """The configuration cannot be used; `faults` says why, one line each, and so does str()."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def _key(default: object, check: validators.Check, why: str) -> Any:
    """A setting: its default, what it must be, and the line about it in the annotated file."""
    return field(default=default, metadata={"check": check, "why": why})


class _Section:
    """A group of settings; its docstring stands above it in the annotated file."""

    __slots__ = ()

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Settings that are each right, and wrong together: their names, and what is wrong with the first."""
        yield from ()


@dataclass(frozen=True, slots=True)
class TwsConfig(_Section):
    """The connection to TWS or IB Gateway."""

    host: str = _key("127.0.0.1", validators.host, "Where TWS or IB Gateway listens. The link is not encrypted.")
    port: int = _key(
        4002, validators.port, "Its API port: IB Gateway paper 4002, live 4001; TWS paper 7497, live 7496."
    )
    client_id: int = _key(
        1,
        validators.whole(0, 2**31 - 1),
        "Orders belong to the client id that placed them: keep it, and use it nowhere else. 0 would also take over "
        "orders entered by hand.",
    )
    market_data_type: int = _key(
        1, validators.whole(1, 4), "1 live, 2 frozen, 3 delayed, 4 delayed and frozen: for all who use this daemon."
    )
    follow_port: bool = _key(
        default=False,
        check=validators.flag,
        why="Whether to go to the new port when TWS says that its API port was changed (1300). If not, that is said, "
        "and port is tried.",
    )
    resolve_timeout: float = _key(10.0, validators.seconds(), "Seconds to look up the host's name.")
    connect_timeout: float = _key(10.0, validators.seconds(), "Seconds for TCP to connect.")
    handshake_timeout: float = _key(
        10.0,
        validators.seconds(),
        "Seconds until TWS has said its version. It waits for the user if it must ask whether to let us in.",
    )
    start_timeout: float = _key(
        30.0, validators.seconds(), "Seconds from there until the next order id and the accounts are known."
    )
    sync_timeout: float = _key(
        30.0, validators.seconds(), "Seconds from there until TWS has been told what a new connection must be told."
    )
    probe_after: float = _key(
        10.0,
        validators.seconds(),
        "Seconds without a byte from TWS after which it is asked for the time (reqCurrentTime).",
    )
    silence_timeout: float = _key(
        30.0,
        validators.seconds(),
        "Seconds without a byte after which the connection is closed as dead; also if TWS has taken nothing of what "
        "was written for so long.",
    )
    stable_after: float = _key(
        10.0,
        validators.seconds(),
        "Seconds that a connection must have been ready: one that is lost before is one more failure in a row.",
    )
    client_id_retry: float = _key(
        10.0,
        validators.seconds(),
        "The least pause after TWS said that the client id is in use (326); twice as long each time, up to 120.",
    )
    reconnect_min: float = _key(
        1.0, validators.seconds(), "Seconds before the first try to connect again; twice as long after each failure."
    )
    reconnect_max: float = _key(
        30.0, validators.seconds(), "The longest pause between two tries; they go on for ever."
    )
    restart_windows: tuple[Window, ...] = _key(
        (),
        validators.windows,
        "When TWS or IB's servers are restarted, each as HH:MM-HH:MM ZONE, with days in front if not every day: "
        "[Sun-Fri 23:45-00:45 America/New_York]. Orders are refused then, and it is no alarm that TWS is away.",
    )
    not_ready_alarm: float = _key(
        60.0,
        validators.seconds(),
        "Seconds for which TWS may not be ready, outside these windows, before it is an alarm.",
    )
    connect_options: str = _key("", validators.printable, "Sent with the offered versions, such as +PACEAPI.")
    optional_capabilities: str = _key("", validators.printable, "Sent when the API starts; IB documents none.")
    encoding: str = _key(
        "utf-8",
        validators.encoding,
        "The encoding of text from TWS. By default UTF-8, and what is no UTF-8 is read as cp1252 (Windows, Western). "
        "Where its host has another code page, name that (cp1250, gbk, cp932): all that is not ASCII is then in it.",
    )
    max_version: int = _key(
        226, validators.whole(176, 226), "The newest server version to offer; lower it to live with an odd gateway."
    )
    read_chunk: int = _key(
        32_768,
        validators.whole(4_096, 1_048_576),
        "Bytes taken from TWS at a time. Under a flood a command waits for one chunk: 65536 is about 8 ms, 16384 "
        "about 5.",
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
class PacingConfig(_Section):
    """How fast TWS is sent messages, all clients together: who sends too many is cut off."""

    rate: int = _key(
        45,
        validators.whole(10, 1_000_000),
        "Messages in any one second, cancels and orders included. TWS takes half as many as there are market data "
        "lines: 50 with the usual 100.",
    )
    share: int = _key(
        500,
        validators.whole(1, 1_000_000),
        "Messages of one client, and of one pace, that may wait for their turn; more are refused (E_PACING).",
    )
    most: int = _key(
        10_000,
        validators.whole(100, 1_000_000),
        "Messages of all clients together that may wait for their turn; a longer one counts for one more for each "
        "2 KiB. When half of this waits, those who have most of it are refused (E_PACING), and others are not.",
    )


@dataclass(frozen=True, slots=True)
class BusConfig(_Section):
    """The ZeroMQ sockets. Only this machine can be let in: there is no encryption or authorisation for others yet."""

    pub: str = _key(
        "tcp://127.0.0.1:5555",
        validators.endpoint,
        "Where messages are published: tcp://127.0.0.1:PORT, or ipc:///PATH, which the directory's permissions guard.",
    )
    rep: str = _key("tcp://127.0.0.1:5556", validators.endpoint, "Where commands are taken.")
    prefix: str = _key(
        "", validators.prefix, "Put in front of every topic, for relays that merge several daemons; empty for none."
    )
    sndhwm: int = _key(
        100_000,
        validators.whole(1, 10_000_000),
        "Messages kept for a subscriber that is behind; beyond that it loses some, which its sequence numbers show.",
    )
    sndbytes: int = _key(
        268_435_456,
        validators.whole(1_048_576, 2**40),
        "Bytes kept for a subscriber that is behind; one that lets more wait is disconnected.",
    )
    max_peers: int = _key(
        1_000,
        validators.whole(1, 1_000_000),
        "Connections to each of the two sockets; more are refused. Fewer where the system gives few descriptors: of "
        "those, less 64 that are kept for TWS, store and log, one in eight is for bus.rep, the others for bus.pub.",
    )
    linger_ms: int = _key(
        1_000, validators.whole(0, 60_000), "Milliseconds that stopping may take to deliver what is still queued."
    )
    max_request: int = _key(
        1_048_576, validators.whole(1_024, 67_108_864), "Bytes of a command; a longer one is refused, unread."
    )
    heartbeat: float = _key(
        1.0,
        validators.seconds(0.1, 60),
        "Seconds between heartbeats. Clients take three missed ones for a dead daemon.",
    )

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: D102 -- the base says what it is
        if validators.same_endpoint(self.pub, self.rep):
            yield ("rep", "pub"), f"must not be where messages are published (bus.pub): {self.rep}"


@dataclass(frozen=True, slots=True)
class RingConfig(_Section):
    """What is kept in memory of market data, answers and news, for subscribers that have missed some of it."""

    messages: int = _key(500_000, validators.whole(1_000, 100_000_000), "At most so many messages.")
    bytes: int = _key(
        134_217_728, validators.whole(1_048_576, 2**40), "And at most so many bytes of memory for them."
    )


@dataclass(frozen=True, slots=True)
class StreamsConfig(_Section):
    """When a stream that should speak and does not is asked for again."""

    silent_after: float = _key(
        180.0,
        validators.seconds(15, 86_400),
        "Seconds without data after which a stream that had some is asked for again, alone: while its market is open "
        "and IB's farms are up. Ten times as long where the market's hours are not known.",
    )
    resubscribe_per_minute: int = _key(
        6, validators.whole(0, 600), "No more of them are asked for again in any minute; 0 for none ever."
    )


@dataclass(frozen=True, slots=True)
class StoreConfig(_Section):
    """Where orders, fills, accounts and what the daemon says of itself are kept, before they are published."""

    path: str = _key(
        "",
        validators.path,
        "A directory of this daemon's own, made if it is not there. Empty: the one that systemd gives "
        "(StateDirectory=), or ~/.local/state/ibbridge/PORT-CLIENT_ID, after tws.port and tws.client_id.",
    )
    days: float = _key(
        7.0,
        validators.days,
        "How many days messages are kept for `replay`: days in which the daemon runs, by a clock that nobody sets. The "
        "keys of orders are kept for ever.",
    )
    max_bytes: int = _key(
        4_294_967_296,
        validators.whole(16_777_216, 2**50),
        "How many bytes the store may have. From 80 % on there is an alarm; beyond all of it the oldest messages go "
        "before their days are over, those about orders last. The keys of orders stay.",
    )
    sync: str = _key(
        "normal",
        validators.choice("normal", "full"),
        "normal: what was published survives the end of the process. full: also a loss of power, at the price of a "
        "write to the disk for each read from TWS that brings such messages.",
    )
    commit_timeout: float = _key(
        0.5,
        validators.seconds(0.05, 60),
        "Seconds for which a disk is waited for that does not answer, and all else with it. Then everything goes on "
        "without it, but orders are refused until it answers.",
    )
    slow: float = _key(
        0.25, validators.seconds(), "Seconds that a commit may take before it is an alarm: all else waits for it."
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
class CommandsConfig(_Section):
    """What clients may ask for."""

    allow: tuple[str, ...] = _key(
        (),
        validators.names(RESTRICTED),
        "Requests that concern the whole connection are refused to clients unless listed here. There are: "
        f"{', '.join(RESTRICTED)}.",
    )
    unknown_words: str = _key(
        "refuse",
        validators.choice("refuse", "pass"),
        "What is done with a word that IB does not list where it lists some (docs/messages.md): order types, times in "
        "force, security types, bar sizes and the like. refuse: before they leave, with the nearest one. pass: left to "
        "TWS, for those whom IB has given a new one.",
    )


@dataclass(frozen=True, slots=True)
class RecordConfig(_Section):
    """All that TWS sends and is sent, kept in files for `ibbridge replay`: see docs/recording.md."""

    directory: str = _key(
        "",
        validators.path,
        "Where recordings are kept; empty for none. They hold account data: only this user can read "
        "them.",
    )
    file_mb: int = _key(
        256,
        validators.whole(1, 1_000_000),
        "Megabytes of one file, compressed. A new one begins then, and each day (UTC).",
    )
    keep_mb: int = _key(
        10_240,
        validators.whole(2, 100_000_000),
        "Megabytes of all files of this connection; beyond that the oldest go.",
    )

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: D102 -- the base says what it is
        if self.keep_mb < 2 * self.file_mb:
            yield ("keep_mb", "file_mb"), f"must be at least twice file_mb: {self.keep_mb} < {2 * self.file_mb}"


@dataclass(frozen=True, slots=True)
class MemoryConfig(_Section):
    """How much memory the daemon may take, before it lets go of those who make it take so much."""

    limit_mb: int = _key(
        1_024,
        validators.whole(128, 1_000_000),
        "Megabytes in use above which the client for whom most is kept is disconnected, one after the other; four "
        "fifths of it are an alarm. It is at least ring.bytes and 512 MB, whatever stands here.",
    )


@dataclass(frozen=True, slots=True)
class LogConfig(_Section):
    """What goes to standard error, and so to the journal."""

    level: str = _key("info", validators.choice("debug", "info", "warning", "error"), "debug, info, warning or error.")


@dataclass(frozen=True, slots=True)
class Config(_Section):
    """Everything that can be configured."""

    tws: TwsConfig = field(default_factory=TwsConfig)
    pacing: PacingConfig = field(default_factory=PacingConfig)
    bus: BusConfig = field(default_factory=BusConfig)
    ring: RingConfig = field(default_factory=RingConfig)
    streams: StreamsConfig = field(default_factory=StreamsConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    commands: CommandsConfig = field(default_factory=CommandsConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    log: LogConfig = field(default_factory=LogConfig)
    instruments: Mapping[str, Mapping[str, Attribute]] = field(
        default_factory=dict,
        metadata={
            "check": validators.instruments,
            "why": "Names of your own for contracts: topics then say md.ES. instead of md.ES-FUT-CME-USD-202612. "
            "Attributes are IB's. For instance:",
            "example": "ES: {symbol: ES, secType: FUT, exchange: CME, currency: USD, "
            'lastTradeDateOrContractMonth: "202612"}',
        },
    )


def load(path: pathlib.Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The configuration in the file at `path` (None: all defaults), changed by `overrides`, each `KEY=VALUE`.

    KEY is a dotted path such as `tws.port`; VALUE is read as YAML would read it there. Raises ConfigError with every
    fault of both.
    """
    given = _Given(str(path or "the defaults"))
    if path is not None:
        given.read(path)
    for override in overrides:
        given.override(override)
    config: Config = _build(Config, given.values, (), given)
    if given.faults:
        raise ConfigError(given.faults)
    return config


class _Given:
    """What the operator said, where he said it, and what is wrong with it."""

    def __init__(self, file: str) -> None:
        self.values: dict[str, Any] = {}
        self.faults: list[str] = []
        self._file = file
        self._places: dict[yaml_document.Path, str] = {}

    def read(self, path: pathlib.Path) -> None:
        try:
            values, lines, faults = yaml_document.parse(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
        except ValueError as error:  # not UTF-8, or a path that cannot be one
            raise ConfigError([f"{path}: cannot be read: {error}"]) from error
        except yaml_document.DocumentError as error:
            raise ConfigError([f"{path}: not YAML: {error}"]) from error
        if not isinstance(values, dict | None):
            sections = ", ".join(item.name for item in dataclasses.fields(Config))
            raise ConfigError([f"{path}: expected a map of sections ({sections}), got {validators.shown(values)}"])
        self.values = values or {}
        self._places = {key: f"{path}:{line}" for key, line in lines.items()}
        self.faults += [f"{path}: {fault}" for fault in faults]

    def override(self, text: str) -> None:
        key, equals, value = text.partition("=")
        if not (key and equals):
            self.faults.append(f"--set {yaml_document.dotted((text,))}: expected KEY=VALUE, such as tws.port=4001")
            return
        *sections, last = path = tuple(key.split("."))
        origin = f"--set {yaml_document.dotted(path)}"
        try:
            # Nothing after the sign is the empty text (`--set bus.prefix=`), where in a file it would be null.
            parsed = yaml_document.parse(value)[0] if value else ""
        except yaml_document.DocumentError as error:
            self.faults.append(f"{origin}: not a YAML value: {error}")
            return
        place = self.values
        for depth, section in enumerate(sections, 1):
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
            self._places.setdefault(path[:depth], origin)
            if not isinstance(place, dict):
                self.faults.append(f"{origin}: {yaml_document.dotted(path[:depth])} has no keys below it")
                return
        place[last] = parsed
        self._places[path] = origin

    def fault(self, paths: Sequence[yaml_document.Path], text: str) -> None:
        """Note what is wrong at the first of `paths`, placed where the operator wrote one of them."""
        places = [self._places[path] for path in paths if path in self._places]
        # Of two settings that contradict each other, one given on the command line is the one that was just changed.
        places.sort(key=lambda place: not place.startswith("--set "))
        place = places[0] if places else self._file
        key = yaml_document.dotted(paths[0])
        self.faults.append(f"{place}: {text}" if place == f"--set {key}" else f"{place}: {key}: {text}")


def _build(section: type[_Section], values: object, path: yaml_document.Path, given: _Given) -> Any:
    """The `section` of `values`; what cannot be used of them is noted in `given`, and the default stands in for it."""
    if values is None:  # `tws:` with nothing but comments below it
        values = {}
    if not isinstance(values, dict):
        given.fault([path], f"expected a map of keys, got {validators.shown(values)}")
        return section()
    fields = _fields(section)
    before = len(given.faults)
    sound: dict[str, Any] = {}
    for name, value in values.items():
        here = (*path, name)
        if name not in fields:
            given.fault([here], f"unknown key{_meant(name, section)}")
        elif below := _section_of(fields[name]):
            sound[name] = _build(below, value, here, given)
        else:
            try:
                sound[name] = fields[name].metadata["check"](value)
            except validators.RefusedError as refused:
                for within, text in refused.faults:
                    given.fault([(*here, *within), here], text)
    built = section(**sound)
    if len(given.faults) == before:
        for names, text in built.contradictions():
            given.fault([(*path, name) for name in names], text)
    return built


def _fields(section: type[_Section]) -> dict[str, dataclasses.Field[Any]]:
    return {item.name: item for item in dataclasses.fields(section)}  # type: ignore[arg-type] # each is a dataclass


def _section_of(item: dataclasses.Field[Any]) -> type[_Section] | None:
    """The section that this field of Config holds, or None if it is a setting."""
    kind: object = item.default_factory
    return kind if isinstance(kind, type) and issubclass(kind, _Section) else None


def _meant(name: str, section: type[_Section]) -> str:
    """What to do about the unknown key `name`: the key beside it that has a name like it, or one in another section."""
    elsewhere: dict[str, str] = {}
    for title, item in _fields(Config).items():
        if below := _section_of(item):
            elsewhere |= {key: f"{title}.{key}" for key in _fields(below)}
    if name in elsewhere.values():
        title, _, key = name.partition(".")
        return f"; write it as {key}: below {title}:"
    if near := difflib.get_close_matches(name.lower(), _fields(section), 1):
        return f"; did you mean {near[0]}?"
    near = difflib.get_close_matches(name.lower(), elsewhere, 1)
    return f"; did you mean {elsewhere[near[0]]}?" if near else ""


def annotated() -> str:
    """The text of config/ibbridge.yaml: every key with its default, below a line of why."""
    lines = [
        "# Every setting with its default. One that is left out has this default too; a misspelt one is refused.",
        "# `ibbridge check FILE` says what is wrong with a file; `--set KEY=VALUE` overrides a key for one run.",
    ]
    for title, item in _fields(Config).items():
        if section := _section_of(item):
            lines += ["", *_comment(section.__doc__ or "", ""), f"{title}:"]
            for name, setting in _fields(section).items():
                lines += [*_comment(setting.metadata["why"], "  "), f"  {name}: {_yaml(setting.default)}"]
        else:
            lines += ["", *_comment(item.metadata["why"], ""), f"#   {item.metadata['example']}", f"{title}: {{}}"]
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str) -> list[str]:
    margin = f"{indent}# "
    return textwrap.wrap(text, 116, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)


def _yaml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if value != "" else '""'
