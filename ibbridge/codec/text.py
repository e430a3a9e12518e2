"""Text readers and writers of a declaration at one server version, as generated source.

A reader takes the fields of one message and returns its data; a writer takes data and returns fields. Both are made
from the same resolved steps, so a field added to a layout is read and written. They must not know ids, frames or bytes.

A reader raises `ValueError`, `LookupError` or `TypeError` on fields that contradict the layout: too few, or not a
number. Surplus fields are counted (`over`), not refused: live gateways send some that no client reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, cast

from ibbridge.codec.codegen import SourceWriter
from ibbridge.codec.layout import Branch, Flagged, Length, Loop, SameSlot, Slot, SplitSlot, Step, resolve
from ibbridge.codec.schema import Const, Declaration, DeclarationError, Field, Mask, Path, Record, Tags, Test, Union
from ibbridge.codec.types import NAMESPACE, Scalar, join_date, split_date
from ibbridge.codec.versions import raw_ids

Data = dict[str, Any]
Reader = Callable[[list[str]], Data]
Writer = Callable[[Mapping[str, Any]], list[str]]


class TooShort(ValueError):  # noqa: N818 - the name says what is wrong
    """Message with fewer fields than its layout."""


# -- what generated source calls -------------------------------------------------------------------------------------


def count(text: str, left: int) -> int:
    """Return the number of rows that follow. Raise `TooShort` if more rows are announced than fields are left.

    Each row has a field, and a hostile or misaligned count must not allocate memory.
    """
    rows = int(text or 0)
    if not 0 <= rows <= left:
        raise TooShort(f"{rows} rows announced, {left} fields left")
    return rows


def tags_of(text: str) -> list[Data]:
    """Return `k=v;k=v;` as a list of `{tag, value}`."""
    pairs = (part.partition("=") for part in text.split(";") if part)
    return [{"tag": tag, "value": value} for tag, _, value in pairs]


def tags_text(tags: Sequence[Mapping[str, Any]] | None) -> str:
    """Return a list of `{tag, value}` as `k=v;k=v;`: the inverse of `tags_of`."""
    return "".join(f"{pair['tag']}={pair['value']};" for pair in tags or ())


_CALLS = {
    **NAMESPACE,
    "INFINITY": float("inf"),
    "NOTHING": {},
    "count": count,
    "tags_of": tags_of,
    "tags_text": tags_text,
    "split_date": split_date,
    "join_date": join_date,
    "TooShort": TooShort,
}


# -- reading ---------------------------------------------------------------------------------------------------------


def reader(message: Declaration, version: int, over: Callable[[int], None]) -> Reader:
    """Return a function from fields to data.

    The fields are the body split at NUL: below version 201 the id comes first, and the last item is the empty text
    behind the final NUL. The function reports the number of surplus fields to `over`.
    """
    made: Reader = _reader_source(message, version)(over)
    return made


@cache
def _reader_source(message: Declaration, version: int) -> Callable[[Callable[[int], None]], Reader]:
    emit = _TextReader(message, version)
    made: Callable[[Callable[[int], None]], Reader] = emit.compile(f"read {message.name} v{version}")
    return made


class _TextReader:
    """Emitter of one reader.

    The next field is at `i + offset`, or at `offset` as long as nothing of variable length has come. Values of the
    message and of `full` rows go into locals and one dict display; those of records go into a dict each, unless they
    equal their default.
    """

    def __init__(self, message: Declaration, version: int) -> None:
        self.message = message
        self.steps = resolve(message, version)
        self.source = SourceWriter()
        self.offset = 0 if raw_ids(version) else 1
        self.dynamic = False

    def compile(self, title: str) -> Any:
        with self.source.block("def make(over):"):
            with self.source.block("def read(f):"):
                self._body()
            self.source.line("return read")
        return self.source.compile(title, "make", _CALLS)

    def _body(self) -> None:
        scope = _Scope(self.source, self.message.shape)
        flat = all(isinstance(step, Slot | Const | SplitSlot | SameSlot) for step in self.steps)
        if flat:
            end = self.offset + sum(1 for _ in self.steps)
            self._check_end(str(end))
        self.emit(self.steps, scope)
        if not flat:
            self._check_end(self._at())
        self.source.line(f"return {scope.display()}")

    def _check_end(self, end: str) -> None:
        with self.source.block(f"if len(f) != {end} + 1:"):
            with self.source.block(f"if len(f) <= {end}:"):
                self.source.line(f"raise TooShort(f'{{len(f) - 1}} fields, not {{{end}}}')")
            self.source.line(f"over(len(f) - 1 - ({end}))")

    def _at(self) -> str:
        return f"i + {self.offset}" if self.dynamic else str(self.offset)

    def _next(self) -> str:
        expression = f"f[{self._at()}]"
        self.offset += 1
        return expression

    def _sync(self) -> None:
        """Make positions relative to `i` from here on."""
        if not self.dynamic or self.offset:
            self.source.line(f"i = {self._at()}")
        self.dynamic, self.offset = True, 0

    def emit(self, steps: Sequence[Step], scope: _Scope) -> None:
        for step in steps:
            match step:
                case Const() | Length():
                    self.offset += 1
                case Slot():
                    scope.put(step, self._load(step))
                case SplitSlot():
                    self._split(step, scope)
                case SameSlot():
                    self.source.line(f"same = {self._load(step.slots[0])}")
                    for slot in step.slots:
                        scope.put(slot, "same")
                case Branch():
                    self._branch(step.test.source(scope.get), step.steps, scope)
                case Flagged():
                    self._flagged(step, scope)
                case _:
                    self._loop(step, scope)

    def _load(self, step: Slot) -> str:
        kind, text = step.field.type, self._next()
        if isinstance(kind, Scalar):
            return (kind.load_unset if step.blank else kind.load).format(x=text)
        if isinstance(kind, Mask):
            table = self.source.constant("mask", tuple(kind.load(value) for value in range(1 << len(kind.bits))))
            return f"{table}[(INTS[{text}] or 0) & {(1 << len(kind.bits)) - 1}]"
        if isinstance(kind, Tags):
            return f"tags_of({text})"
        raise DeclarationError(f"{self.message.name}: {'.'.join(step.path)} cannot be one text field")

    def _split(self, step: SplitSlot, scope: _Scope) -> None:
        parts = self.source.name("parts")
        self.source.line(f"{parts} = split_date({self._next()}, {len(step.slots)})")
        for index, slot in enumerate(step.slots):
            if index and scope.is_record(slot.path):  # a missing part must not replace another field's value
                with self.source.block(f"if {parts}[{index}]:"):
                    scope.put(slot, f"{parts}[{index}]")
            else:
                scope.put(slot, f"{parts}[{index}]")

    def _branch(self, test: str, steps: Sequence[Step], scope: _Scope) -> None:
        self._sync()
        scope.prepare(steps)
        with self.source.block(f"if {test}:"):
            self.emit(steps, scope)
            self._sync()

    def _flagged(self, step: Flagged, scope: _Scope) -> None:
        self._next()
        self._sync()
        with self.source.block("if FLAGS[f[i - 1]]:"):
            scope.open(step.path)
            self.emit(step.steps, scope)
            self._sync()

    def _loop(self, step: Loop, scope: _Scope) -> None:
        rows = self.source.name("rows")
        self._next()
        self._sync()
        self.source.line(f"{rows} = []")
        with self.source.block("for _ in range(count(f[i - 1], len(f) - 1 - i)):"):
            self._row(step, rows)
        if step.field.distinct:
            self.source.line(f"{rows} = distinct({rows})")
        scope.assign(step.path, step.field, rows)

    def _row(self, step: Loop, rows: str) -> None:
        kind = step.field.type
        if isinstance(kind, Union):
            self._kinds(kind, step, rows)
        elif isinstance(kind, Record):
            row = _Scope(self.source, kind)
            self.emit(step.steps, row)
            self._sync()
            self.source.line(f"{rows}.append({row.display()})")
        elif isinstance(kind, Tags):
            self.source.line(f"{rows}.append({{'tag': f[i], 'value': f[i + 1]}})")
            self.source.line("i += 2")
        else:
            with self.source.block(f"if (w := {cast('Scalar', kind).load.format(x='f[i]')}) is not None:"):
                self.source.line(f"{rows}.append(w)")  # a list leaves out unset values
            self.source.line("i += 1")

    def _kinds(self, union: Union, step: Loop, rows: str) -> None:
        self.source.line("kind = int(f[i] or 0)")
        self.source.line("i += 1")
        word = "if"
        for number, steps in step.kinds.items():
            with self.source.block(f"{word} kind == {number}:"):
                row = _Scope(self.source, union.kinds[number], extra=f"{union.by.name!r}: {number}, ")
                self.emit(steps, row)
                self._sync()
                self.source.line(f"{rows}.append({row.display()})")
            word = "elif"
        with self.source.block("else:"):
            self.source.line(f"raise ValueError(f'{union.by.name} {{kind}} is unknown')")


class _Scope:
    """Variables that hold one record while it is read."""

    def __init__(self, source: SourceWriter, record: Record, extra: str = "") -> None:
        self.source = source
        self.record = record
        self.extra = extra
        self.groups: dict[Path, str] = {}
        self.full: set[Path] = set()
        self.flagged: dict[Path, str] = {}
        self.locals: dict[str, str] = {}
        if not record.full:
            self._group((), record)
            if extra:
                self.source.line(f"{self.groups[()]} = {{{extra}}}")
        for field in record.shape:
            self._nested((field.name,), field)

    def _nested(self, path: Path, field: Field) -> None:
        """Add a variable for each nested record that is always present or may be filled piece by piece."""
        if isinstance(field.type, Record) and not field.many:
            self._group(path, field.type)
            if field.default is None and len(path) == 1 and self.record.full:
                self._optional(path)
            for inner in field.type.shape:
                self._nested((*path, inner.name), inner)

    def _group(self, path: Path, record: Record) -> None:
        name = self.source.name("r")
        self.groups[path] = name
        if record.full:
            self.full.add(path)
        start = {field.name: field.default for field in record.shape} if record.full else {}
        self.source.line(f"{name} = {start!r}")

    def _optional(self, path: Path) -> None:
        """Add a variable that is None unless the record at the message's own level is present."""
        self.flagged[path] = name = self.source.name("r")
        self.source.line(f"{name} = None")

    def is_record(self, path: Path) -> bool:
        return path[:-1] in self.groups

    def open(self, path: Path) -> None:
        """Emit that an optional record is present, even if all its fields have their defaults."""
        place = self.flagged.get(path) or f"{self.groups[path[:-1]]}[{path[-1]!r}]"
        self.source.line(f"{place} = {self.groups[path]}")

    def prepare(self, steps: Sequence[Step]) -> None:
        """Emit the defaults of the values that a branch may leave out."""
        for step in steps:
            if isinstance(step, Branch):
                self.prepare(step.steps)
            elif isinstance(step, Slot | Loop) and not self.known(step.path):
                self.locals[step.path[-1]] = name = self.source.name("m")
                self.source.line(f"{name} = {step.field.default!r}")

    def known(self, path: Path) -> bool:
        """Return True if there is a variable to put the value into."""
        return path[:-1] in self.groups or path[-1] in self.locals

    def put(self, slot: Slot, expression: str) -> None:
        path, default = slot.path, slot.field.default
        if path[:-1] not in self.groups:
            if path[-1] not in self.locals:
                self.locals[path[-1]] = self.source.name("m")
            self.source.line(f"{self.locals[path[-1]]} = {expression}")
            return
        group = self.groups[path[:-1]]
        if path[:-1] in self.full:
            self.source.line(f"{group}[{path[-1]!r}] = {expression}")
            return
        with self.source.block(f"if (w := {expression}) != {default!r}:"):
            self.source.line(f"{group}[{path[-1]!r}] = w")
        if slot.again:
            with self.source.block("else:"):
                self.source.line(f"{group}.pop({path[-1]!r}, None)")

    def assign(self, path: Path, _: Field, variable: str) -> None:
        if path[:-1] not in self.groups:
            if path[-1] in self.locals:  # prepared for a branch
                self.source.line(f"{self.locals[path[-1]]} = {variable}")
            else:
                self.locals[path[-1]] = variable
            return
        with self.source.block(f"if {variable}:"):
            self.source.line(f"{self.groups[path[:-1]]}[{path[-1]!r}] = {variable}")

    def get(self, path: Path) -> str:
        if path[:-1] in self.groups:
            return f"{self.groups[path[:-1]]}.get({path[-1]!r})"
        return self.locals[path[-1]]

    def display(self) -> str:
        """Emit the joining of nested records, and return the expression for the finished record."""
        for path, name in reversed(self.groups.items()):
            if path and (len(path) > 1 or not self.record.full):
                with self.source.block(f"if {name}:"):
                    self.source.line(f"{self.groups[path[:-1]]}[{path[-1]!r}] = {name}")
        if not self.record.full:
            return self.groups[()]
        items = (f"{field.name!r}: {self._value(field)}" for field in self.record.shape)
        return "{" + self.extra + ", ".join(items) + "}"

    def _value(self, field: Field) -> str:
        if (field.name,) in self.groups:
            return self.flagged.get((field.name,)) or self.groups[(field.name,)]
        value = self.locals.get(field.name) or repr(field.default)
        return f"({value} if {field.only.source(self.get)} else {field.default!r})" if field.only else value


# -- writing ---------------------------------------------------------------------------------------------------------


def writer(message: Declaration, version: int) -> Writer:
    """Return a function from data to fields, without the id. Missing values are written as their defaults."""
    made: Writer = _writer_source(message, version)
    return made


@cache
def _writer_source(message: Declaration, version: int) -> Writer:
    source = SourceWriter()
    with source.block("def write(d):"):
        source.line("out = []")
        _TextWriter(source).emit(resolve(message, version), _GivenMembers(source, message.shape, "d"))
        source.line("return out")
    made: Writer = source.compile(f"write {message.name} v{version}", "write", _CALLS)
    return made


class _GivenMembers:
    """Expressions for the values of one record to be written."""

    def __init__(self, source: SourceWriter, record: Record, variable: str) -> None:
        self.groups: dict[Path, str] = {(): variable}
        for field in record.shape:
            self._nested(source, (field.name,), field)

    def _nested(self, source: SourceWriter, path: Path, field: Field) -> None:
        if isinstance(field.type, Record) and not field.many:
            name = source.name("r")
            source.line(f"{name} = {self.groups[path[:-1]]}.get({path[-1]!r}) or NOTHING")
            self.groups[path] = name
            for inner in field.type.shape:
                self._nested(source, (*path, inner.name), inner)

    def get(self, path: Path) -> str:
        return f"{self.groups[path[:-1]]}.get({path[-1]!r})"

    def value(self, slot: Slot) -> str:
        default = slot.field.default
        tail = "" if default is None else f", {default!r}"
        return f"{self.groups[slot.path[:-1]]}.get({slot.path[-1]!r}{tail})"


class _TextWriter:
    def __init__(self, source: SourceWriter) -> None:
        self.source = source

    def emit(self, steps: Sequence[Step], given: _GivenMembers) -> None:
        run: list[str] = []
        again = {step.path for step in steps if isinstance(step, Slot) and step.again}  # a later field has these
        for step in steps:
            match step:
                case Const():
                    run.append(repr(step.text))
                case Length():
                    run.append(f"str(len({given.get(step.path)} or ()))")
                case Slot():
                    run.append(self._dump(step, given))
                case SplitSlot():
                    parts = (given.get(slot.path) for slot in step.slots if slot.path not in again)
                    run.append("join_date(" + ", ".join(parts) + ")")
                case SameSlot():
                    run.append(self._dump(step.slots[0], given))
                case _:
                    self._flush(run)
                    self._structure(step, given)
        self._flush(run)

    def _flush(self, run: list[str]) -> None:
        if run:
            self.source.line(f"out += [{', '.join(run)}]")
        run.clear()

    def _structure(self, step: Branch | Flagged | Loop, given: _GivenMembers) -> None:
        match step:
            case Branch():
                with self.source.block(f"if {step.test.source(given.get)}:"):
                    self.emit(step.steps, given)
            case Flagged():
                with self.source.block(f"if {given.get(step.path)} is None:"):
                    self.source.line("out.append('0')")
                with self.source.block("else:"):
                    self.source.line("out.append('1')")
                    self.emit(step.steps, given)
            case _:
                self._loop(step, given)

    def _dump(self, step: Slot, given: _GivenMembers) -> str:
        kind, value = step.field.type, given.value(step)
        if isinstance(kind, Scalar):
            if kind.dump == "{v}":
                return f"({value} or '')"
            unset = "" if step.blank else kind.unset
            return f"({unset!r} if (v := {value}) is None else {kind.dump.format(v='v')})"
        if isinstance(kind, Mask):
            table = self.source.constant("mask", kind)
            return f"str({table}.dump({value} or NOTHING))"
        return f"tags_text({value})"

    def _loop(self, step: Loop, given: _GivenMembers) -> None:
        rows, row = self.source.name("rows"), self.source.name("row")
        kind = step.field.type
        self.source.line(f"{rows} = {given.get(step.path)} or ()")
        self.source.line(f"out.append(str(len({rows})))")
        with self.source.block(f"for {row} in {rows}:"):
            if isinstance(kind, Union):
                self._kinds(kind, step, row)
            elif isinstance(kind, Record):
                self.emit(step.steps, _GivenMembers(self.source, kind, row))
            elif isinstance(kind, Tags):
                self.source.line(f"out += [{row}['tag'], {row}['value']]")
            else:
                scalar = cast("Scalar", kind)
                self.source.line(f"out.append({scalar.unset!r} if {row} is None else {scalar.dump.format(v=row)})")

    def _kinds(self, union: Union, step: Loop, row: str) -> None:
        self.source.line(f"out.append(str({row}[{union.by.name!r}]))")
        for number, steps in step.kinds.items():
            with self.source.block(f"if {row}[{union.by.name!r}] == {number}:"):
                self.emit(steps, _GivenMembers(self.source, union.kinds[number], row))


def compiled_test(test: Test) -> Callable[[Mapping[str, Any]], Any]:
    """Return the test as a function of data, for callers that say why a value is not on the wire."""
    return _compiled_test(test)


@cache
def _compiled_test(test: Test) -> Callable[[Mapping[str, Any]], Any]:
    def value(path: Path) -> str:
        found = "d"
        for name in path[:-1]:
            found = f"({found}.get({name!r}) or NOTHING)"
        return f"{found}.get({path[-1]!r})"

    source = SourceWriter()
    with source.block("def holds(d):"):
        source.line(f"return {test.source(value)}")
    made: Callable[[Mapping[str, Any]], Any] = source.compile(f"test {test.name}", "holds", _CALLS)
    return made


def place_of(message: Declaration, version: int) -> int:
    """Return the index, as a reader counts, of the field that tells apart messages with one id."""
    name = message.kind[0] if message.kind else ""
    for index, step in enumerate(resolve(message, version), 0 if raw_ids(version) else 1):
        if isinstance(step, Slot) and step.path == (name,):
            return index
    raise LookupError(name)
