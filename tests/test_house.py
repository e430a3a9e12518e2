"""Rules of the house that no single module can keep: who may compare server versions, and who may import whom."""

from __future__ import annotations

import ast
import re
from collections import Counter
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
    """Return True if the value of an expression is a server version, or made of one by arithmetic."""
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


# -- prose ------------------------------------------------------------------------------------------------------------

OPENERS = re.compile(
    r"^(What|Whether|One|It|That|Those|These|All|Of|Nobody|Whoever|Who|How|Where|When|If|As|Not|No|There|Something|"
    r"Anything|Everything)\b"
)
"""Words with which no docstring begins: a reader looks for a verb, or for a noun."""

PROSE = [
    path
    for folder in ("ibbridge", "benchmarks", "soak", "fuzz", "tests")
    for path in sorted((Path(__file__).parents[1] / folder).rglob("*.py"))
]


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and its functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    assert len(PROSE) > 350
    found = [
        f"{path.name}: {text.splitlines()[0]}"
        for path in PROSE
        for text in docstrings(ast.parse(path.read_text()))
        if OPENERS.match(text)
    ]
    assert not found


def test_a_banned_opener_is_found() -> None:
    source = 'def look():\n    """What is seen."""\n\nclass A:\n    """Whatever is a noun."""\n'
    assert [text for text in docstrings(ast.parse(source)) if OPENERS.match(text)] == ["What is seen."]


# -- arrows point down only -------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.+?) \| .+ \| .+ \|$", PAGE, re.MULTILINE)
ORDER = ["__main__", *(name.removesuffix(".py") for row in ROWS for name in re.findall(r"`([\w.]+)`", row))]
"""The packages, and the modules at the root, as docs/architecture.md lists them: the highest first."""

PURE = {re.findall(r"`(\w+)`", row)[0] for row in ROWS if "(pure)" in row}
"""Packages that take events and give what is to be done, and know neither sockets nor a clock."""

PURE_MODULES = {
    f"{name}.py"
    for name in (
        "commands/bug_report", "commands/builtin", "commands/endpoint", "commands/fair_memory", "commands/ib_requests",
        "commands/reply_cache", "commands/unpacking", "config/reload", "monitoring/alarms", "monitoring/health_checks",
        "monitoring/process_health", "monitoring/redaction", "recording/format", "tws/decode_errors", "tws/fair_queue",
        "tws/outbound", "tws/request_limits", "tws/send_queue", "tws/sender", "tws/session", "tws/supervisor",
        "tws/token_bucket", "tws/waiting_messages",
    )
}  # fmt: skip
"""Pure modules of packages that are not pure as a whole."""

OUTSIDE = {"asyncio", "datetime", "random", "select", "selectors", "socket", "sqlite3", "threading", "time", "zmq"}

CLOCKED = {
    ("ib/list_reach.py", "datetime"): "as trading_hours: a caller gives the times",
    ("ib/trading_hours.py", "datetime"): "days and zones are arithmetic; no clock is read",
    ("risk/trading_day.py", "datetime"): "as trading_hours: a caller gives the times",
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
    assert len(PURE) >= 9
    pure = {name for name in MODULES if name.partition("/")[0] in PURE} | PURE_MODULES
    found = {(name, each) for name in pure for each in outside(imported(MODULES[name]))}
    assert found == CLOCKED.keys()


def package(name: str) -> str:
    """Return the package of a module, or the module itself at the root; empty for the root's `__init__`."""
    return name.partition("/")[0].removesuffix(".py").replace("__init__", "")


def upward(name: str, tree: ast.AST) -> Iterator[str]:
    """Imports of what does not stand below."""
    here = package(name)
    for each in imported(tree):
        root, _, rest = each.partition(".")
        target = rest.partition(".")[0]
        if root == "ibbridge" and target in ORDER and target != here and ORDER.index(target) < ORDER.index(here):
            yield each


def test_arrows_point_down_only() -> None:
    found = {package(name) for name in MODULES} - {""}
    assert found == set(ORDER), "docs/architecture.md must say where a new package stands"
    for name in MODULES.keys() - {"__init__.py"}:
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


# -- limits -----------------------------------------------------------------------------------------------------------

MOST_IMPORTS = 12
"""Modules of ours that one module may import: who needs more does several jobs, or knows too much of another's."""
MOST_ARGUMENTS = 5
"""Things that a constructor may take: who needs more wants a smaller class, or settings declared as one record."""

DECLARES = {
    "codec/messages/__init__.py": "joins the declarations of all messages",
    "wiring.py": "builds every part, so that no other module need know them all",
}
"""Modules that may import as many as they like, each with its reason."""


def module(name: str) -> str:
    """Return the full name of a module of ours from its path."""
    return f"ibbridge/{name}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")


OURS = {module(name) for name in MODULES}


def modules_of_ours(tree: ast.AST) -> set[str]:
    """Return the modules of ours that a module imports, wherever it does so. A name counts as its module."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {each.name for each in names}
            case ast.ImportFrom(module=str(source), names=names):
                found |= {inner if (inner := f"{source}.{each.name}") in OURS else source for each in names}
    return found & OURS


def constructors(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the classes that have a constructor, with the number of things that it takes."""
    for node in (each for each in ast.walk(tree) if isinstance(each, ast.ClassDef)):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name in ("__init__", "__new__"):
                taken = inner.args
                several = [each for each in (taken.vararg, taken.kwarg) if each]
                count = len([*taken.posonlyargs, *taken.args, *taken.kwonlyargs, *several]) - 1  # the object itself
                yield node.name, count


def over_the_limits(name: str, tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what exceeds a limit in a module, with its figure."""
    imports = len(modules_of_ours(tree))
    if imports > MOST_IMPORTS and name not in DECLARES:
        yield name, imports
    yield from ((f"{name}: {of}", taken) for of, taken in constructors(tree) if taken > MOST_ARGUMENTS)


OVER = dict(each for name, tree in MODULES.items() for each in over_the_limits(name, tree))


def test_no_module_imports_and_no_constructor_takes_too_much() -> None:
    assert OVER == {}


def test_what_is_within_the_limits_is_not_excused() -> None:
    assert {name for name in DECLARES if len(modules_of_ours(MODULES[name])) <= MOST_IMPORTS} == set()


def test_what_exceeds_a_limit_is_found() -> None:
    some = sorted(OURS - {"ibbridge"})[: MOST_IMPORTS + 1]
    constructor = "class A:\n    def __init__(self, a, b, *c, d, e, **f): ...\n"
    imports = "".join(f"from {each} import something\n" for each in some)
    found = dict(over_the_limits("x.py", ast.parse(f"import zmq\nfrom ibbridge import daemon\n{imports}{constructor}")))
    assert found == {"x.py": len({*some, "ibbridge.daemon"}), "x.py: A": 6}


# -- no hooks ---------------------------------------------------------------------------------------------------------


def hooks(tree: ast.AST) -> Iterator[str]:
    """Yield the assignments of a function to an attribute of another object, as source.

    An object that calls what others have hung on it hides whom it calls; a constructor says what it takes.
    """
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value) if is_function(value, functions):
                if any(isinstance(target, ast.Attribute) and not is_own(target) for target in targets):
                    yield ast.unparse(node)


def is_function(node: ast.expr, functions: set[str]) -> bool:
    match node:
        case ast.Lambda():
            return True
        case ast.Name(name) | ast.Attribute(attr=name):
            return name in functions
    return False


def is_own(target: ast.Attribute) -> bool:
    return isinstance(target.value, ast.Name) and target.value.id == "self"


def test_nobody_hangs_a_function_on_another_object() -> None:
    found = {(name, each) for name, tree in MODULES.items() for each in hooks(tree)}
    assert found == set()


def test_a_hook_is_found() -> None:
    source = "class A:\n  def f(self):\n    other.hook = self.f\n    self.x.y = lambda: 0\n    self.z = self.f\n"
    assert list(hooks(ast.parse(source))) == ["other.hook = self.f", "self.x.y = lambda: 0"]


# -- names ------------------------------------------------------------------------------------------------------------

TWO_FACES = {
    ("client", "Client"): "the client for threads and the client for asyncio are used alike",
    ("client", "PlacedOrder"): "the orders of the two clients are used alike, too",
}
"""Names that two classes of a package share, and why."""


BESIDE = {"client", "sim", "cli", "docgen"}
"""Packages beside the daemon, which may call a thing as the daemon does."""


def test_no_two_classes_of_the_daemon_have_one_name() -> None:
    places: dict[str, set[str]] = {}
    for name, tree in MODULES.items():
        if package(name) not in BESIDE and not name.startswith("recording/player/"):
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, set()).add(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_class_of_a_package_has_the_name_of_another() -> None:
    names = Counter(
        (package(name), node.name)
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    assert {each for each, number in names.items() if number > 1} == TWO_FACES.keys()
