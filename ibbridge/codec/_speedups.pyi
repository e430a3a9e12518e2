from collections.abc import Callable, Iterable, Mapping
from typing import Any

INTERFACE: int
KINDS: Mapping[str, int]

def split(data: bytes, most: int) -> tuple[list[bytes], int, int]: ...

class Plan:
    def __init__(self, plan: Any) -> None: ...

class Reader:
    def __init__(
        self, raw: bool, ids: int, plans: Callable[[int], Iterable[Plan]], rest: Callable[[bytes], Any]
    ) -> None: ...
    def read(self, payload: bytes) -> Any: ...
