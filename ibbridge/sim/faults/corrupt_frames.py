"""Corrupt frames, made from a valid one. Knows bytes only."""

from __future__ import annotations

from ibbridge.codec import frame

_PROTOBUF = 200
"""Bound of the ids: where ids are raw, a higher id has a body in protobuf."""


def garbled(whole: bytes, kind: str) -> bytes:
    """Return a frame of `currentTime`, corrupted as `kind` says."""
    payload = whole[4:]
    text = payload[:1].isdigit()
    match kind:
        case "unknown":
            return frame(b"9999" + payload[payload.index(b"\0") :] if text else (9999).to_bytes(4, "big") + payload[4:])
        case "undecodable":
            return frame(payload[:-2] + b"\xff\xff")
        case "surplus":
            protobuf = not text and int.from_bytes(payload[:4], "big") > _PROTOBUF
            return frame(payload + (b"\xc0\x3e\x01" if protobuf else b"7\0surplus\0"))
        case "empty":
            return frame(b"")
    return b"\xff\xff\xff\xff" + payload
