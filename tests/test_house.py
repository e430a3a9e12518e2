"""Rules of the house that no single module can keep: who may compare server versions, and who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ibbridge
from ibbridge.codec import versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(ibbridge.__file__).parent
MODULES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}

# -- versions are compared in one place -------------------------------------------------------------------------------

MAY_COMPARE = {f"codec/{name}.py" for name in ("schema", "layout", "versions", "connection", "framing")}
"""The schema engine, and the connection with what it stands on: its offer and its framing."""

VERSIONS = {"version", "server_version", "serverVersion", "serverversion"}
"""What holds a server version is called so."""

CONSTANTS = {name for name, value in vars(versions).items() if name.isupper() and isinstance(value, int)}

SEVERAL = {"min", "max", "range", "sorted", "lt", "le", "gt", "ge", "eq", "ne", "bisect", "bisect_left", "bisect_right"}
"""Functions that compare what they are given, or make something to compare with."""

SAME = {"int", "str", "float", "bool", "abs"}
"""Functions whose value is still the version."""

EXCEPTIONS = {
    ("config/validators.py", "address.version == 6"): "the version of an internet address",
    ("codec/speedups.py", "version is None"): "asks which encoding is meant",
    ("cli/sim.py", "range(OLDEST, NEWEST + 1)"): "what may be asked of the simulator at the command line",
}


def comparisons(tree: ast.AST) -> Iterator[str]:
    """Whatever in a module's source decides by a server version, as source."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare() if any(map(is_version, [node.left, *node.comparators])):
                yield ast.unparse(node)
            case ast.Match() if is_version(node.subject):
                yield ast.unparse(node.subject)
            case ast.Subscript() if is_version(node.slice):  # a table by version
                yield ast.unparse(node)
            case ast.Call() if called(node) in SEVERAL or called(node).startswith("__"):
                given = [*node.args, *(each.value for each in node.keywords), inside(node.func)]
                if any(each and is_version(each) for each in given):
                    yield ast.unparse(node)


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
    return ""


def inside(node: ast.expr) -> ast.expr | None:
    return node.value if isinstance(node, ast.Attribute) else None


def is_version(node: ast.expr) -> bool:
    """Whether the value of an expression is a server version, or made of one by arithmetic."""
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name in VERSIONS | CONSTANTS
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name in VERSIONS
        case ast.BinOp(left=left, right=right):
            return is_version(left) or is_version(right)
        case ast.UnaryOp(operand=inner) | ast.NamedExpr(value=inner) | ast.Starred(value=inner):
            return is_version(inner)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.BoolOp(values=parts):
            return any(map(is_version, parts))
        case ast.IfExp(body=one, orelse=other):
            return is_version(one) or is_version(other)
        case ast.Call() if called(node) in SAME | SEVERAL:
            return any(map(is_version, node.args))
    return False


def offenders() -> set[tuple[str, str]]:
    return {(name, found) for name, tree in MODULES.items() if name not in MAY_COMPARE for found in comparisons(tree)}


def test_only_the_schema_engine_and_the_connection_compare_versions() -> None:
    assert offenders() - EXCEPTIONS.keys() == set()


def test_every_exception_is_still_needed() -> None:
    assert EXCEPTIONS.keys() <= offenders()


def test_those_who_may_compare_are_there() -> None:
    assert MODULES.keys() >= MAY_COMPARE


@pytest.mark.parametrize(
    "source",
    [
        "version >= 203",
        "self.dialect.version < 190",
        "190 <= serverVersion < 203",
        "state['server_version'] == 200",
        "limit > v.PROTOBUF",
        "limit > PROTOBUF + 1",
        "version - 200 > 0",
        "int(version) != 7",
        "version in range(176, 201)",
        "version in (187, 188, 189)",
        "number in range(v.RFQ_FIELDS, 190)",
        "(found := session.version) > 3",
        "max(version, 200)",
        "version.__ge__(200)",
        "operator.ge(version, 200)",
        "layouts[version]",
        "bisect(edges, version)",
        "match version:\n    case 200:\n        pass",
    ],
)
def test_a_comparison_is_found(source: str) -> None:
    assert list(comparisons(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    ["reader(message, version)", "raw_ids(version)", "each.exists(version)", "path in carried(message, version)"],
)
def test_asking_those_who_may_is_no_comparison(source: str) -> None:
    assert not list(comparisons(ast.parse(source)))


# -- arrows point down only -------------------------------------------------------------------------------------------

PURE = {
    f"{name}.py"
    for name in (
        "protocol/arguments", "tws/session", "tws/supervisor", "streams/publisher", "inbound/router",
        "commands/ib_requests", "orders/registry", "orders/order_keys", "protocol/topics", "commands/endpoint",
        "streams/market_depth", "config/reload", "streams/replay_buffer", "streams/sequencer", "streams/snapshot",
        "risk/halt", "commands/reply_cache", "commands/builtin", "recording/format", "monitoring/alarms",
        "monitoring/health_checks", "commands/unpacking", "tws/token_bucket", "streams/heartbeat_numbers",
        "streams/retired_streams", "commands/fair_memory", "tws/fair_queue", "tws/send_queue", "requests/timeouts",
        "requests/issuer", "requests/deadlines", "requests/delays", "ib/trading_hours", "tws/sender",
        "requests/request_factory", "subscriptions/registry", "orders/placement", "requests/reissue_queue",
        "subscriptions/resubscription", "subscriptions/stall_detector", "subscriptions/singleton_streams",
    )
}
"""State machines and policies: they take events and give what is to be done, and know neither sockets nor a clock."""

PURE |= {"tws/decode_errors.py", "monitoring/process_health.py"}

OUTSIDE = {"asyncio", "datetime", "random", "select", "selectors", "socket", "sqlite3", "threading", "time", "zmq"}

CLOCKED = {
    ("ib/trading_hours.py", "datetime"): "days and zones are arithmetic; no clock is read",
    ("commands/endpoint.py", "time"): "`not_after` is a time of day, which only the host's clock can tell to be over",
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules by their full names; of `from x import y` both, as y may be a module."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield module
                yield from (f"{module}.{each.name}" for each in names)
            case ast.ImportFrom(level=level) if level:
                yield "." * level


def outside(names: Iterable[str]) -> set[str]:
    return {top for name in names if (top := name.partition(".")[0]) in OUTSIDE}


def test_the_codec_imports_nothing_of_ours_and_nothing_of_the_outside() -> None:
    for name, tree in MODULES.items():
        if name.startswith("codec/"):
            assert all(f"{each}.".startswith("ibbridge.codec.") for each in imports_of_ours(tree)), name
            assert not outside(imported(tree)), name


def test_what_is_pure_imports_no_socket_and_no_clock() -> None:
    assert MODULES.keys() >= PURE
    found = {(name, each) for name in PURE for each in outside(imported(MODULES[name]))}
    assert found == CLOCKED.keys()


LAYERS = [
    "monitoring/printable",
    "codec",
    "ib",
    "protocol/arguments",
    "config/yaml_document",
    "config/maintenance_windows",
    "config/validators",
    "config/model",
    "config/reload",
    "monitoring/systemd",
    "recording/format",
    "recording/writer",
    "protocol/errors",
    "protocol/topics",
    "streams/market_depth",
    "streams/replay_buffer",
    "streams/sequencer",
    "streams/heartbeat_numbers",
    "streams/retired_streams",
    "monitoring/alarms",
    "monitoring/health_checks",
    "monitoring",
    "storage",
    "streams/publisher",
    "storage/event_store",
    "streams/snapshot",
    "risk/halt",
    "commands/builtin",
    "tws/session",
    "tws/token_bucket",
    "tws/fair_queue",
    "tws/send_queue",
    "tws/decode_errors",
    "tws/supervisor",
    "orders/registry",
    "orders/order_keys",
    "inbound/router",
    "requests/request_factory",
    "commands/fair_memory",
    "commands/reply_cache",
    "commands/unpacking",
    "requests/deadlines",
    "ib/trading_hours",
    "tws/sender",
    "orders/placement",
    "requests/issuer",
    "subscriptions/singleton_streams",
    "inbound/unreadable",
    "subscriptions/registry",
    "requests/reissue_queue",
    "requests/timeouts",
    "requests/delays",
    "subscriptions/stall_detector",
    "subscriptions/resubscription",
    "commands/ib_requests",
    "commands/endpoint",
    "zeromq/zmq_send",
    "security",
    "tcp_server",
    "zeromq/reply_socket",
    "bus",
    "tws/connector",
    "recording/player",
    "recording/proxy",
    "daemon",
    "docgen",
    "client",
    "sim",
    "cli",
    "__main__",
]
"""Packages and modules, lowest first. Whoever imports another stands behind it."""


def layer(name: str) -> str:
    """Return the innermost layer that a module is in; one that is in none has its own name."""
    path = name.removesuffix(".py")
    return max((each for each in LAYERS if f"{path}/".startswith(f"{each}/")), key=len, default=path)


def upward(name: str, tree: ast.AST) -> Iterator[str]:
    """Imports of what does not stand below."""
    here = LAYERS.index(layer(name))
    for each in imported(tree):
        package, _, rest = each.partition(".")
        target = layer(rest.replace(".", "/"))
        if package == "ibbridge" and target in LAYERS and LAYERS.index(target) > here:
            yield each


def test_arrows_point_down_only() -> None:
    rooms = {name for name, tree in MODULES.items() if name.endswith("__init__.py") and not imports_of_ours(tree)}
    found = {layer(name) for name in MODULES.keys() - rooms}
    assert found == set(LAYERS), "LAYERS must say where a new module stands"
    for name in MODULES.keys() - rooms:
        assert not list(upward(name, MODULES[name])), name


def imports_of_ours(tree: ast.AST) -> set[str]:
    return {each for each in imported(tree) if each.startswith(("ibbridge", "."))}


def test_an_arrow_that_points_up_is_found() -> None:
    source = ast.parse(
        "from ibbridge.daemon import Daemon\nfrom ibbridge import cli\n"
        "from ibbridge.protocol import topics\nimport ibbridge.codec.text"
    )
    assert set(upward("bus.py", source)) == {"ibbridge.daemon", "ibbridge.daemon.Daemon", "ibbridge.cli"}


def test_imports_are_seen() -> None:
    source = "import zmq.backend\nfrom ibbridge import daemon\nfrom ibbridge.codec import Dialect\nfrom . import x"
    found = set(imported(ast.parse(source)))
    assert {"zmq.backend", "ibbridge.daemon", "ibbridge.codec", "."} <= found
    assert outside(found) == {"zmq"}
