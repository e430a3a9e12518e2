"""Character encoding of text from TWS: UTF-8, or the code page of the host.

TWS mostly writes UTF-8, but in places the code page of its host: names in errors, headlines, the time zone of the
greeting. So a payload that is not UTF-8 is decoded field by field, and a field that is not UTF-8 as `FALLBACK`. For a
host with another code page the configuration names that code page, and every field that is not ASCII is decoded in it.
Protobuf's text is always UTF-8.
"""

from __future__ import annotations

UTF_8 = "utf-8"

FALLBACK = "cp1252"
"""Code page of Windows in most of Europe and America. Latin-1 agrees with this code page in every printable
character."""

_PROBES = (rb"\u0041 \x41 +AEE-", b"\x1b$B0!\x1b(B", bytes(range(128)))
"""ASCII bytes that a usable encoding decodes to themselves; the first two rule out encodings with escapes of any
kind."""


def is_usable(name: str) -> bool:
    """Return True if Python knows a character encoding of that name that decodes ASCII as ASCII."""
    try:
        return all(probe.decode(name) == probe.decode("ascii") for probe in _PROBES)
    except (LookupError, ValueError):
        return False


class TextEncoding:
    """Decoder of text fields in one character encoding."""

    def __init__(self, name: str = UTF_8) -> None:
        """Raise `LookupError` if the encoding `name` is not usable."""
        if not is_usable(name):
            raise LookupError(f"{name!r} is not a character encoding that decodes ASCII as ASCII")
        self.is_utf_8 = name.lower().replace("_", "-") in (UTF_8, "utf8")
        self.plain = UTF_8 if self.is_utf_8 else "ascii"
        """Encoding in which a payload is first decoded as a whole, which works for nearly every payload."""
        self._name = FALLBACK if self.is_utf_8 else name

    def text(self, raw: bytes) -> str:
        r"""Return a field as text. Bytes that the encoding does not have become `\xNN`."""
        try:
            return raw.decode(self.plain)
        except UnicodeDecodeError:
            return raw.decode(self._name, "backslashreplace")

    def fields(self, body: bytes) -> list[str]:
        """Return the fields of a body that does not decode as `plain`."""
        return [self.text(raw) for raw in body.split(b"\0")]
