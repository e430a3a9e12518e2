"""The character encoding of text from TWS: UTF-8, and what else its host may write.

TWS writes UTF-8 mostly, and here and there what its host's code page has: names in errors, headlines, the zone of the
greeting. So a payload that is no UTF-8 is read field by field, and a field that is none as `FALLBACK`. Where the host
has another code page, that is named, and every field that is not ASCII is in it. Protobuf's text is always UTF-8.
"""

from __future__ import annotations

UTF_8 = "utf-8"

FALLBACK = "cp1252"
"""The code page of Windows in most of Europe and America. Latin-1 agrees with it in every printable character."""

_PROBES = (rb"\u0041 \x41 +AEE-", b"\x1b$B0!\x1b(B", bytes(range(128)))
"""Bytes of ASCII that read as themselves in an encoding of text; the first two rule out escapes of all kinds."""


def is_usable(name: str) -> bool:
    """Return True if Python knows a character encoding of that name in which ASCII is itself."""
    try:
        return all(probe.decode(name) == probe.decode("ascii") for probe in _PROBES)
    except (LookupError, ValueError):
        return False


class TextEncoding:
    """One encoding: how a payload is split into text fields when it is not all `plain`."""

    def __init__(self, name: str = UTF_8) -> None:
        """Raise `LookupError` where `name` is not usable."""
        if not is_usable(name):
            raise LookupError(f"{name!r} is no encoding of text in which ASCII is itself")
        self.is_utf_8 = name.lower().replace("_", "-") in (UTF_8, "utf8")
        self.plain = UTF_8 if self.is_utf_8 else "ascii"
        """The encoding in which a payload is tried as a whole: nearly all of them are in it."""
        self._name = FALLBACK if self.is_utf_8 else name

    def text(self, raw: bytes) -> str:
        r"""Return a field as text. Bytes that the encoding does not have are written as `\xNN`."""
        try:
            return raw.decode(self.plain)
        except UnicodeDecodeError:
            return raw.decode(self._name, "backslashreplace")

    def fields(self, body: bytes) -> list[str]:
        """Return the fields of a body that is not all `plain`."""
        return [self.text(raw) for raw in body.split(b"\0")]
