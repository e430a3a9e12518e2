"""Start-up time of the codec, from its import to the first message, in a fresh process.

decode.py starts this program with a server version and a payload in hex. The program prints milliseconds of CPU of its
process, as JSON: the import of third-party packages, the import of the codec, the first message. Python's own modules
count for the first import that needs them.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from itertools import pairwise

THEIRS = ("msgpack", "google.protobuf.descriptor_pb2", "google.protobuf.message_factory")


def main() -> int:
    """Measure once and print. Return the exit code."""
    version, payload = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
    stamps = [time.process_time()]
    for name in THEIRS:
        import_module(name)
    stamps.append(time.process_time())
    codec = import_module("ibbridge.codec")
    stamps.append(time.process_time())
    found = codec.Dialect.client(version).read(payload)
    stamps.append(time.process_time())
    packages, imported, first = ((late - soon) * 1e3 for soon, late in pairwise(stamps))
    print(json.dumps({"packages": packages, "imported": imported, "first": first}))
    return 0 if isinstance(found, codec.Message) else 1


if __name__ == "__main__":
    sys.exit(main())
