"""Rejections: the errors of IB's by which the host answers a request that it does not carry out."""

from __future__ import annotations


class RequestRejected(Exception):  # noqa: N818 - a response of TWS, not a failure of the simulator
    """Error of IB's that answers a request."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


def not_found() -> RequestRejected:
    """Return TWS's error for a contract that matches no security."""
    return RequestRejected(200, "No security definition has been found for the request")


def invalid(cause: str) -> RequestRejected:
    """Return TWS's error for an invalid request, with the cause."""
    return RequestRejected(321, f"Error validating request.-'bW' : cause - {cause}")
