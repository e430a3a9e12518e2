"""Generated source is source: tracebacks and `inspect` show it."""

from __future__ import annotations

import inspect
import linecache
import traceback

import pytest

from ibbridge.codec import text
from ibbridge.codec.codegen import SourceWriter
from ibbridge.codec.messages import MESSAGES


def test_a_generated_reader_can_be_inspected() -> None:
    read = text.reader(MESSAGES["tickPrice"], 176, lambda _: None)
    source = inspect.getsource(read)
    assert source.lstrip().startswith("def read(f):")
    assert "'tickType'" in source
    assert inspect.getsourcefile(read) == "<read tickPrice v176>"


def test_a_generated_writer_can_be_inspected_after_the_cache_was_checked() -> None:
    write = text.writer(MESSAGES["tickPrice"], 176)
    linecache.checkcache()
    assert inspect.getsource(write).startswith("def write(d):")


def test_a_traceback_shows_the_line_that_failed() -> None:
    read = text.reader(MESSAGES["tickSize"], 176, lambda _: None)
    with pytest.raises(ValueError, match="seven") as fault:
        read(["2", "6", "seven", "0", "1", ""])
    shown = "".join(traceback.format_exception(fault.value))
    assert 'File "<read tickSize v176>", line' in shown
    assert "[f[2]]" in shown


def test_an_empty_block_passes() -> None:
    source = SourceWriter()
    with source.block("def nothing():"):
        pass
    assert source.compile("nothing", "nothing", {})() is None


def test_names_are_never_given_twice() -> None:
    source = SourceWriter()
    assert len({source.name("a"), source.name("a"), source.constant("a", 1)}) == 3
