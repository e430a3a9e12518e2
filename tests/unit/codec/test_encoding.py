"""Text of TWS that is no UTF-8: which characters it is taken for."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec import Connection, Dialect, Message, speedups
from ibbridge.codec.encoding import TextEncoding, is_usable
from ibbridge.codec.framing import frame

client = cache(Dialect.client)


def text(version: int, number: int, *fields: bytes) -> bytes:
    head = number.to_bytes(4, "big") if version > 200 else b"%d\0" % number
    return head + b"".join(field + b"\0" for field in fields)


def error(version: int, said: bytes) -> bytes:
    if version < 194:
        return text(version, 4, b"2", b"7", b"200", said, b"")
    return text(version, 4, b"7", b"200", said, b"", b"0")


@pytest.mark.parametrize("version", [176, 193, 194, 200, 203])
@pytest.mark.parametrize(
    ("said", "read"),
    [
        (b"Order f\xfcr AAPL", "Order für AAPL"),
        ("Order für AAPL".encode(), "Order für AAPL"),
        (b"\x80 5", "€ 5"),
        (b"Bourse d\x92Euronext", "Bourse d\u2019Euronext"),
        (b"\x81\x8d", r"\x81\x8d"),  # what the code page has no character for
        (b"plain", "plain"),
    ],
)
def test_text_that_is_no_utf_8_is_read_in_the_code_page_of_windows(version: int, said: bytes, read: str) -> None:
    got = client(version).read(error(version, said))
    assert isinstance(got, Message), got
    assert got.data["errorString"] == read


def test_each_field_is_read_by_itself() -> None:
    got = client(200).read(text(200, 83, b"7", b"0", "日本 für".encode()))
    assert isinstance(got, Message)
    assert got.data["articleText"] == "日本 für"
    headlines = text(200, 86, b"7", "für".encode(), b"f\xfcr", "日".encode(), b"plain")
    got = client(200).read(headlines)
    assert isinstance(got, Message)
    assert list(got.data.values()) == [7, "für", "für", "日", "plain"]


@pytest.mark.parametrize(
    ("encoding", "said", "read"),
    [
        ("gbk", "中国标准时间".encode("gbk"), "中国标准时间"),
        ("gbk", "联通".encode("gbk"), "联通"),  # valid UTF-8 by accident: the setting says what it is
        ("cp932", "東京".encode("cp932"), "東京"),
        ("cp1250", "Łódź".encode("cp1250"), "Łódź"),
        ("latin-1", b"f\xfcr", "für"),
        ("utf_8", b"f\xfcr", "für"),
        ("ascii", b"f\xfcr", r"f\xfcr"),
        ("gbk", b"\xff", r"\xff"),
        ("gbk", b"plain", "plain"),
    ],
)
@pytest.mark.parametrize("version", [176, 203])
def test_text_is_in_the_encoding_that_is_set(encoding: str, said: bytes, read: str, version: int) -> None:
    got = Dialect.client(version, encoding=encoding).read(error(version, said))
    assert isinstance(got, Message), got
    assert got.data["errorString"] == read


NEWS = ("tickString", "tickNews")


@pytest.mark.skipif(not speedups.BUILT, reason="the compiled reader is not built")
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "gbk", "ascii"])
@pytest.mark.parametrize("version", [176, 200, 226])
@given(said=st.binary(max_size=8).map(lambda raw: raw.replace(b"\0", b"")) | st.sampled_from(["联通".encode("gbk")]))
def test_compiled_code_reads_text_as_pure_python_does(encoding: str, version: int, said: bytes) -> None:
    for payload in (text(version, 46, b"6", b"7", b"45", said), text(version, 84, b"7", b"0", b"A", b"B", said, b"")):
        plain = Dialect.client(version, encoding=encoding).read(payload)
        assert isinstance(plain, Message), plain
        packed: Any = _packed(version, encoding).read_packed(payload)
        assert packed[0] == plain.name
        assert msgpack.unpackb(packed[3]) == plain.data


@cache
def _packed(version: int, encoding: str) -> Dialect:
    return Dialect.client(version, NEWS, encoding)


@pytest.mark.parametrize(("encoding", "zone"), [("utf-8", "Mitteleuropäische Zeit"), ("gbk", "中国标准时间")])
def test_the_zone_of_the_greeting_is_read_in_it_too(encoding: str, zone: str) -> None:
    connection = Connection(1, encoding=encoding)
    written = f"20260406 12:00:00 {zone}".encode("cp1252" if encoding == "utf-8" else encoding)
    (got,) = connection.receive_data(frame(b"200\0" + written + b"\0"))
    assert isinstance(got, Message)
    assert got.data["connectionTime"] == f"20260406 12:00:00 {zone}"


@pytest.mark.parametrize(
    "name", ["utf-8", "UTF8", "utf_8", "ascii", "cp1252", "latin-1", "gbk", "gb18030", "cp932", "euc_kr"]
)
def test_an_encoding_in_which_ascii_is_itself_is_usable(name: str) -> None:
    assert is_usable(name)
    assert TextEncoding(name).text(b"AAPL") == "AAPL"


@pytest.mark.parametrize(
    "name",
    ["", "x", "utf-16", "utf-7", "utf-32", "cp037", "hex", "rot13", "punycode", "unicode_escape",
     "raw_unicode_escape", "iso2022_jp", "undefined", "a\0b", "zlib", "mbcs8"],
)  # fmt: skip
def test_what_is_no_such_encoding_is_not(name: str) -> None:
    assert not is_usable(name)
    with pytest.raises(LookupError):
        TextEncoding(name)


@given(st.binary(max_size=30), st.sampled_from(["utf-8", "gbk", "cp932", "ascii", "cp1252"]))
def test_any_bytes_are_text(raw: bytes, name: str) -> None:
    encoding = TextEncoding(name)
    fields = encoding.fields(raw)
    assert len(fields) == raw.count(b"\0") + 1
    assert "\0" not in "".join(fields)
    "".join(fields).encode()  # no half of a surrogate pair, which nothing behind could write
