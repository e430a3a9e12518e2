from __future__ import annotations

import pytest

from ibbridge.monitoring.redaction import redacted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('    secret-key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"', "    secret-key = ***"),
        ("secret_key='a b c', public_key='d'", "secret_key=***, public_key='d'"),
        ('{"password": "hunter2", "user": "me"}', '{"password": ***, "user": "me"}'),
        ("Password: hunter2; next", "Password: ***; next"),
        ("api-key=abcdef)", "api-key=***)"),
        ("order of DU1234567 refused", "order of DU...567 refused"),
        ("U1234567,F7654321 and DF11223344", "U...567,F...321 and DF...344"),
        ("the executions of DUP123456", "the executions of DUP...456"),
    ],
)
def test_a_secret_is_left_out_and_an_account_is_shortened(text, told):
    assert redacted(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "listening on tcp://127.0.0.1:5556",
        "TWS reports 2104 for id -1: Market data farm connection is OK:usfarm",
        "md.ES-FUT-CME-USD-20261218. has ended",
        "no client in security.clients has the key rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
        "the secret key is missing",
        "U12 and F1",
    ],
)
def test_everything_else_is_as_it_was(text):
    assert redacted(text) == text
