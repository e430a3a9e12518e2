"""Clients in the configuration, and in a directory of certificates: what is taken, and each fault by name."""

from __future__ import annotations

import os
import pathlib

import pytest
import zmq

from ibbridge.config import credentials
from ibbridge.config.loader import load
from ibbridge.config.model import ConfigError, SecurityConfig
from ibbridge.security import key_files
from ibbridge.security.access import KnownClient
from ibbridge.security.policy_terms import Terms

PAIR = ("beta", "desk-*")
KEY = zmq.curve_keypair()[0].decode()


def faults(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(None, overrides)
    return [fault.partition("security.clients: ")[2] for fault in refused.value.faults]


def test_clients_are_a_list():
    text = f"[{{name: alpha, role: trader, key: '{KEY}', acts_as: [beta, 'desk-*']}}, {{name: desk, uid: 7}}]"
    assert load(None, [f"security.clients={text}"]).security.clients == (
        KnownClient("alpha", "trader", KEY, acts_as=PAIR, policy=Terms(acts_as=PAIR)),
        KnownClient("desk", "observer", uid=7),
    )


@pytest.mark.parametrize(
    ("client", "fault"),
    [
        ("alpha", "client 1: expected a map with name and role, got 'alpha'"),
        ("{uid: 1}", "client 1: has no name"),
        ("{name: a}", "client a: has neither key nor uid, so nothing would prove that it is the one"),
        ("{name: a/b, uid: 1}", "client a/b: name: expected 1 to 32 characters"),
        ("{name: a, uid: 1, rol: x}", "client a: rol: unknown key; did you mean role?"),
        ("{name: a, uid: 65534}", "client a: uid: 65534 is nobody"),
        ("{name: a, key: short}", "client a: key: expected a public key in Z85"),
    ],
)
def test_a_faulty_client_is_named(client: str, fault: str):
    (said,) = faults(f"security.clients=[{client}]")
    assert said.startswith(fault)


def test_two_clients_cannot_have_one_key_or_uid():
    pair = f"[{{name: a, key: '{KEY}', uid: 1}}, {{name: b, key: '{KEY}', uid: 1}}]"
    assert faults(f"security.clients={pair}") == [
        "client b: has the same key as a; give each its own",
        "client b: has the same uid as a; give each its own",
    ]


def made(directory: pathlib.Path, name: str, **metadata: str) -> str:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    key_files.write(directory, name, public, secret, metadata)
    return public


def test_clients_are_a_directory_of_certificates(tmp_path: pathlib.Path):
    alpha = made(tmp_path, "alpha", role="trader", acts_as="beta, desk-*")
    beta = made(tmp_path, "beta")
    made(tmp_path, "server")
    rules = credentials.access_rules(SecurityConfig(clients=str(tmp_path)))
    assert rules.clients == (
        KnownClient("alpha", "trader", alpha, acts_as=PAIR, policy=Terms(acts_as=PAIR)),
        KnownClient("beta", "observer", beta),
    )


def test_a_certificate_has_the_terms_of_a_policy(tmp_path: pathlib.Path):
    made(tmp_path, "alpha", role="trader", accounts="DU1, DU2", deny_symbols="TSLA", email="a@example.com")
    (client,) = credentials.access_rules(SecurityConfig(clients=str(tmp_path))).clients
    assert client.policy == Terms(allowed={"accounts": ("DU1", "DU2")}, denied={"symbols": ("TSLA",)})


def test_a_term_of_a_certificate_that_would_not_hold_is_a_fault(tmp_path: pathlib.Path):
    made(tmp_path, "alpha", role="trader", topics="md.AAPL", deny_symbol="TSLA")
    with pytest.raises(ConfigError) as refused:
        credentials.access_rules(SecurityConfig(clients=str(tmp_path)))
    said = "\n".join(refused.value.faults)
    assert "deny_symbol: unknown key; did you mean deny_symbols?" in said
    assert "topics: 'md.AAPL': a topic ends in a dot" in said


def test_every_faulty_certificate_is_named(tmp_path: pathlib.Path):
    made(tmp_path, "alpha", role="tradr")
    made(tmp_path, "beta")
    (tmp_path / "copy.key").write_text((tmp_path / "beta.key").read_text())
    with pytest.raises(ConfigError) as refused:
        credentials.access_rules(SecurityConfig(clients=str(tmp_path)))
    (role, twin) = refused.value.faults
    assert role.startswith(f"security.clients: {tmp_path}/alpha.key: there is no role 'tradr'")
    assert twin == f"security.clients: {tmp_path}: client copy: has the same key as beta; give each its own"


@pytest.mark.parametrize(
    ("text", "fault"), [("", "public-key is missing"), ('public-key = "x"', "public-key is no key")]
)
def test_what_is_no_certificate_is_said(tmp_path: pathlib.Path, text: str, fault: str):
    (tmp_path / "alpha.key").write_text(text)
    with pytest.raises(ConfigError, match=f"alpha.key: is no certificate: {fault}"):
        credentials.access_rules(SecurityConfig(clients=str(tmp_path)))


def test_a_directory_that_is_not_there_is_said(tmp_path: pathlib.Path):
    with pytest.raises(ConfigError, match="nowhere: is no directory; `ibbridge keygen NAME --dir"):
        credentials.access_rules(SecurityConfig(clients=str(tmp_path / "nowhere")))


def test_a_secret_key_that_others_can_read_in_the_directory_of_clients_is_refused(tmp_path: pathlib.Path):
    made(tmp_path, "alpha")
    shown = tmp_path / "shown.key"
    shown.write_text((tmp_path / "alpha.key_secret").read_text())
    shown.chmod(0o644)
    with pytest.raises(ConfigError, match=f"chmod 600 {shown}"):
        credentials.access_rules(SecurityConfig(clients=str(tmp_path)))


@pytest.mark.parametrize("place", ["", "alpha.key"])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o666])
def test_certificates_that_others_can_change_admit_nobody(tmp_path: pathlib.Path, place: str, mode: int):
    made(tmp_path, "alpha", role="trader")
    path = tmp_path / place
    mode_before = path.stat().st_mode
    path.chmod(mode | 0o100)
    try:
        with pytest.raises(key_files.KeyFileError, match="lets others change who is admitted"):
            key_files.read_all(tmp_path)
    finally:
        path.chmod(mode_before)


def test_a_pipe_among_the_certificates_is_refused_and_not_waited_for(tmp_path: pathlib.Path):
    os.mkfifo(tmp_path / "pipe.key")
    with pytest.raises(key_files.KeyFileError, match="not a file"):
        key_files.read_all(tmp_path)


def test_no_secret_is_in_the_text_of_a_certificate(tmp_path: pathlib.Path):
    made(tmp_path, "alpha")
    certificate = key_files.read(tmp_path / "alpha.key_secret")
    assert certificate.secret
    assert certificate.secret not in repr(certificate)


def test_keys_are_where_systemd_or_the_user_has_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CONFIGURATION_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/me/.conf")
    assert credentials.directory(SecurityConfig()) == pathlib.Path("/home/me/.conf/ibbridge/keys")
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", "/etc/ibbridge:/x")
    assert credentials.directory(SecurityConfig()) == pathlib.Path("/etc/ibbridge/keys")
    assert credentials.directory(SecurityConfig(keys="/k")) == pathlib.Path("/k")
