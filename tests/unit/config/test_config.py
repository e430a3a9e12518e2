from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ibbridge.config import model, validators, yaml_document
from ibbridge.config.example import annotated
from ibbridge.config.loader import load
from ibbridge.config.model import Config, ConfigError

ROOT = pathlib.Path(__file__).parents[3]
ANNOTATED = ROOT / "config" / "ibbridge.yaml"
_WORD = "printable ASCII text of at most 64 characters, without blanks at its ends"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> pathlib.Path:
        path: pathlib.Path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        return path

    return write


def faults(path: pathlib.Path | None, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return [fault.replace(f"{path}", "FILE") for fault in caught.value.faults]


def settings() -> list[tuple[str, dataclasses.Field[Any]]]:
    found = []
    for section in dataclasses.fields(Config):
        if "check" in section.metadata:
            found.append((section.name, section))
        else:
            kind: Any = section.default_factory
            found += [(f"{section.name}.{item.name}", item) for item in dataclasses.fields(kind)]
    return found


# --- the annotated file


def test_the_annotated_file_is_written_from_the_code():
    assert ANNOTATED.read_text() == annotated(), "run `make docs`"


def test_the_annotated_file_says_exactly_the_defaults():
    assert load(ANNOTATED) == load() == Config()


def test_the_annotated_file_has_every_key_and_a_comment_above_it():
    lines = [line.strip() for line in ANNOTATED.read_text().splitlines()]
    _, places, _ = yaml_document.parse(ANNOTATED.read_text())
    for key, item in settings():
        assert lines[places[tuple(key.split("."))] - 2].startswith("# "), key
        assert item.metadata["why"], key


def test_any_yaml_reader_reads_the_annotated_file_as_we_do():
    assert yaml.safe_load(ANNOTATED.read_text()) == yaml_document.parse(ANNOTATED.read_text())[0]


def test_the_annotated_files_example_of_an_instrument_can_be_used(write):
    example = {item.name: item for item in dataclasses.fields(Config)}["instruments"].metadata["example"]
    assert load(write(f"instruments:\n  {example}\n")).instruments["ES"]["lastTradeDateOrContractMonth"] == "202612"


@pytest.mark.parametrize(("key", "item"), settings(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_default_passes_its_own_check(key, item):
    default = item.default_factory() if item.default is dataclasses.MISSING else item.default
    given = list(default) if isinstance(default, tuple) else default
    assert item.metadata["check"](given) == default
    assert type(item.metadata["check"](given)) is type(default)


# --- what is taken


def test_what_is_left_out_has_its_default(write):
    assert load(write("tws: {port: 7497}\n")) == Config(tws=model.TwsConfig(port=7497))


@pytest.mark.parametrize("text", ["", "# nothing\n", "tws:\n  # nothing\n", "instruments:\n", "---\n", "tws: {}\n"])
def test_a_section_of_nothing_but_comments_is_one_of_defaults(write, text):
    assert load(write(text)) == Config()


def test_an_override_wins_over_the_file_and_the_last_one_over_the_others(write):
    loaded = load(write("tws: {port: 1, host: gateway}\n"), ["tws.port=2", "tws.port=3", "commands.allow=[reqIds]"])
    assert (loaded.tws.port, loaded.tws.host, loaded.commands.allow) == (3, "gateway", ("reqIds",))


def test_a_list_of_words_has_each_word_once(write):
    loaded = load(write("commands:\n  order_types: [RPI, NEW TYPE, RPI]\n"))
    assert loaded.commands.order_types == ("RPI", "NEW TYPE")


def test_an_override_of_nothing_is_the_empty_text(write):
    assert load(write("bus: {prefix: eu}\n"), ["bus.prefix="]).bus.prefix == ""


def test_an_override_may_contain_equals_signs_and_colons():
    loaded = load(None, ["tws.connect_options=+A=1", "bus.pub=ipc:///run/a=b"])
    assert (loaded.tws.connect_options, loaded.bus.pub) == ("+A=1", ("ipc:///run/a=b",))


def test_an_override_reaches_into_an_instrument():
    loaded = load(None, ["instruments.ES.symbol=ES", "instruments.ES.conId=1"])
    assert loaded.instruments == {"ES": {"symbol": "ES", "conId": 1}}


def test_an_instruments_attributes_have_ibs_types(write):
    loaded = load(write('instruments: {a: {symbol: SPX, strike: 6000, multiplier: "100", includeExpired: true}}'))
    assert loaded.instruments["a"] == {"symbol": "SPX", "strike": 6000.0, "multiplier": "100", "includeExpired": True}
    assert type(loaded.instruments["a"]["strike"]) is float


def test_a_whole_number_of_seconds_is_a_float():
    assert repr(load(None, ["bus.heartbeat=2"]).bus.heartbeat) == "2.0"


def test_the_ticker_on_is_text_and_so_is_a_number_with_a_leading_zero(write):
    instruments = load(write("instruments:\n  a: {symbol: ON, exchange: NO}\n  b: {symbol: 0700}\n")).instruments
    assert instruments == {"a": {"symbol": "ON", "exchange": "NO"}, "b": {"symbol": "0700"}}


def test_the_tree_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().tws.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:5555",
        "tcp://127.9.9.9:1",
        "tcp://localhost:65535",
        "tcp://[::1]:5555",
        "ipc:///run/ibbridge/pub",
        "ipc:///" + "a" * 106,
        "ipc://$RUNTIME_DIRECTORY/pub",
    ],
)
def test_an_endpoint_of_this_machine_is_taken(endpoint):
    assert load(None, [f"bus.pub={endpoint}"]).bus.pub == (endpoint,)


# --- what is refused: FILE:line: key: what was expected, what was given, what to do


REFUSED = [
    ("tws:\n  port: 0", "FILE:2: tws.port: expected a whole number from 1 to 65535, got 0"),
    ("tws:\n  port: 65536", "FILE:2: tws.port: expected a whole number from 1 to 65535, got 65536"),
    ("tws: {port: 1.0}", "FILE:1: tws.port: expected a whole number from 1 to 65535, got 1.0"),
    ('tws: {port: "1"}', "FILE:1: tws.port: expected a whole number from 1 to 65535, got '1' (drop the quotes)"),
    ("tws: {port: one}", "FILE:1: tws.port: expected a whole number from 1 to 65535, got 'one'"),
    ("tws: {port: true}", "FILE:1: tws.port: expected a whole number from 1 to 65535, got true"),
    ("tws: {port: }", "FILE:1: tws.port: expected a whole number from 1 to 65535, got nothing"),
    ("tws: {port: [1]}", "FILE:1: tws.port: expected a whole number from 1 to 65535, got a list"),
    ("tws: {client_id: -1}", "FILE:1: tws.client_id: expected a whole number from 0 to 2147483647, got -1"),
    (
        "tws: {encoding: utf-16}",
        (
            "FILE:1: tws.encoding: expected an encoding of text in which ASCII is itself, such as utf-8, cp1252, gbk "
            "or cp932, got 'utf-16'"
        ),
    ),
    ("tws: {max_version: 175}", "FILE:1: tws.max_version: expected a whole number from 176 to 226, got 175"),
    ("tws: {market_data_type: 5}", "FILE:1: tws.market_data_type: expected a whole number from 1 to 4, got 5"),
    ("tws: {host: 3}", "FILE:1: tws.host: expected a host name or an IP address, got 3 (put it in quotes)"),
    ("tws: {host: ''}", "FILE:1: tws.host: expected a host name or an IP address, got ''"),
    (
        "tws: {host: 'a:4001'}",
        "FILE:1: tws.host: expected a host name or an IP address, got 'a:4001'; the port has a key of its own",
    ),
    ("tws: {start_timeout: 0}", "FILE:1: tws.start_timeout: expected seconds, more than 0 up to 86400, got 0"),
    ("tws: {start_timeout: 1.0e+999}", "FILE:1: tws.start_timeout: expected seconds, more than 0 up to 86400, got inf"),
    (
        "tws: {start_timeout: '5.5'}",
        "FILE:1: tws.start_timeout: expected seconds, more than 0 up to 86400, got '5.5' (drop the quotes)",
    ),
    ("bus: {heartbeat: 0.01}", "FILE:1: bus.heartbeat: expected seconds, from 0.1 up to 60, got 0.01"),
    (
        r'tws: {connect_options: "a\0b"}',
        r"FILE:1: tws.connect_options: expected printable ASCII text of at most 255 characters, got 'a\x00b'",
    ),
    ("tws: {reconnect_max: 0.5}", "FILE:1: tws.reconnect_max: must not be less than reconnect_min: 0.5 < 1"),
    ("tws: {reconnect_min: 31}", "FILE:1: tws.reconnect_max: must not be less than reconnect_min: 30 < 31"),
    ("tws: {silence_timeout: 10}", "FILE:1: tws.silence_timeout: must be more than probe_after: 10 <= 10"),
    ("tws: {probe_after: 31}", "FILE:1: tws.silence_timeout: must be more than probe_after: 30 <= 31"),
    (
        "bus: {prefix: a.b}",
        "FILE:1: bus.prefix: expected empty text (\"\") or characters out of A-Z a-z 0-9 _ - + @ ~ /, got 'a.b'",
    ),
    (
        "log: {level: inf}",
        "FILE:1: log.level: expected one of debug, info, warning, error, got 'inf'; did you mean info?",
    ),
    ("log: {level: 3}", "FILE:1: log.level: expected one of debug, info, warning, error, got 3"),
    ("record: {file_mb: 6000}", "FILE:1: record.keep_mb: must be at least twice file_mb: 10240 < 12000"),
    ("commands: {allow: reqIds}", "FILE:1: commands.allow: expected a list, such as [reqIds], got 'reqIds'"),
    ("commands: {allow: [reqids]}", "FILE:1: commands.allow: 'reqids': unknown name; did you mean reqIds?"),
    (
        "commands: {order_types: RPI}",
        "FILE:1: commands.order_types: expected a list, such as [TYPE A, TYPE B], got 'RPI'",
    ),
    *(
        (f"commands: {{order_types: [MKT, {word}]}}", f"FILE:1: commands.order_types: expected {_WORD}, got {shown}")
        for word, shown in (
            ('""', "''"),
            ('" A"', "' A'"),
            ('"A\\n"', r"'A\n'"),
            ("Ä", r"'\xc4'"),
            ("x" * 65, repr("x" * 65)),
            ("[A]", "a list"),
            ("1", "1 (put it in quotes)"),
        )
    ),
    ("commands: {allow: [[reqIds]]}", "FILE:1: commands.allow: a list: unknown name"),
    ("tws: 5", "FILE:1: tws: expected a map of keys, got 5"),
    ("tws: {prot: 1}", "FILE:1: tws.prot: unknown key; did you mean port?"),
    ("tws: {clientId: 1}", "FILE:1: tws.clientId: unknown key; did you mean client_id?"),
    ("twss: {port: 1}", "FILE:1: twss: unknown key; did you mean tws?"),
    ("port: 1", "FILE:1: port: unknown key; did you mean tws.port?"),
    ("tws.port: 1", "FILE:1: tws.port: unknown key; write it as port: below tws:"),
    ("qqqq: 1", "FILE:1: qqqq: unknown key"),
    ('"\\u20ac\\n": 1', r"FILE:1: '\u20ac\n': unknown key"),
    ("instruments: [1]", "FILE:1: instruments: expected a map of names to contracts, got a list"),
    (
        "instruments: {ES: 5}",
        (
            "FILE:1: instruments.ES: expected a map of the contract's attributes, such as "
            "{symbol: ES, secType: FUT, exchange: CME}, got 5"
        ),
    ),
    (
        "instruments: {ES: {secType: FUT}}",
        "FILE:1: instruments.ES: does not say which contract it is: give one of conId, symbol, localSymbol, secId",
    ),
    (
        "instruments: {ES: {symbl: ES}}",
        "FILE:1: instruments.ES.symbl: unknown attribute of a contract; did you mean symbol?",
    ),
    (
        "instruments:\n  ES:\n    conId: 1\n    multiplier: 50",
        (
            "FILE:4: instruments.ES.multiplier: expected printable ASCII text of at most 255 characters, got 50 "
            "(put it in quotes)"
        ),
    ),
    ("instruments: {ES: {conId: 1, strike: 1.0e+999}}", "FILE:1: instruments.ES.strike: expected a number, got inf"),
    (
        "instruments: {ES: {conId: 1, includeExpired: 1}}",
        "FILE:1: instruments.ES.includeExpired: expected true or false, got 1",
    ),
    (
        "instruments: {ES+depth: {conId: 1}}",
        "FILE:1: instruments.ES+depth: a name has characters out of A-Z a-z 0-9 _ - @ ~ / and does not begin with ~",
    ),
    (
        "instruments:\n  A: {conId: 1}\n  B: {conId: 1}",
        "FILE:3: instruments.B: is the same contract as A; keep one of the two names",
    ),
]


@pytest.mark.parametrize(("text", "fault"), REFUSED)
def test_a_fault_names_the_line_the_key_and_what_was_expected(write, text, fault):
    assert faults(write(text)) == [fault]


NO_ADDRESS = "expected an IP address (127.0.0.1, [::1]), localhost, or * for all addresses of this machine"
NO_PORT = "expected a port from 1 to 65535, as in tcp://127.0.0.1:5555"
NO_PATH = "expected an absolute path after ipc://, as in ipc:///run/ibbridge/pub"
NO_ENDPOINT = "expected tcp://127.0.0.1:PORT or ipc:///PATH"


@pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        ("tcp://::1:5555", NO_ADDRESS),
        ("tcp://[127.0.0.1]:5555", NO_ADDRESS),
        ("tcp://[::1%lo]:5555", NO_ADDRESS),
        ("tcp://eth0:5555", NO_ADDRESS),
        ("tcp://127.0.0.1", NO_PORT),
        ("tcp://127.0.0.1:*", NO_PORT),
        ("tcp://127.0.0.1:0", NO_PORT),
        ("tcp://127.0.0.1:65536", NO_PORT),
        ("tcp://", NO_PORT),
        ("ipc://", NO_PATH),
        ("ipc://pub", NO_PATH),
        ("ipc://*", NO_PATH),
        ("ipc:///run/", NO_PATH),
        ("ipc:///" + "a" * 107, "expected a path of at most 107 bytes after ipc://"),
        (
            "ipc://@pub",
            "abstract ipc sockets have no permissions and would let in every user of this machine: expected ipc:///PATH",
        ),
        ("udp://127.0.0.1:5555", NO_ENDPOINT),
        ("127.0.0.1:5555", NO_ENDPOINT),
        ("", NO_ENDPOINT),
    ],
)
def test_an_endpoint_that_is_none_is_refused(endpoint, fault):
    (said,) = faults(None, f"bus.pub={endpoint}")
    assert said.startswith(f"--set bus.pub: {fault}, got '{endpoint[:75]}")


REMOTE = ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.168.1.2:5555", "tcp://[::]:5555"]


@pytest.mark.parametrize("endpoint", REMOTE)
def test_an_endpoint_that_strangers_could_reach_is_refused_without_keys(endpoint):
    (said,) = faults(None, f"bus.pub={endpoint}")
    assert said.startswith(f"--set bus.pub: other machines can reach {endpoint}, and no client has a key: make keys")


@pytest.mark.parametrize("endpoint", REMOTE)
def test_an_endpoint_that_strangers_could_reach_is_taken_with_clients(endpoint):
    assert load(None, [f"bus.pub={endpoint}", "security.clients=/etc/ibbridge/clients"]).bus.pub == (endpoint,)


@pytest.mark.parametrize(
    ("pub", "rep"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("tcp://127.0.0.1:5555", "tcp://localhost:5555"),
        ("tcp://[::1]:5555", "tcp://[0:0:0:0:0:0:0:1]:5555"),
        ("ipc:///run/a", "ipc:///run/x/../a"),
    ],
)
def test_messages_and_commands_cannot_share_an_endpoint_however_it_is_spelt(pub, rep):
    assert faults(None, f"bus.pub={pub}", f"bus.rep={rep}") == [
        f"--set bus.rep: must not be where messages are published (bus.pub): {rep}"
    ]


def test_of_two_settings_that_contradict_each_other_the_overridden_one_is_named(write):
    assert faults(write("bus: {rep: 'tcp://127.0.0.1:1'}"), "bus.pub=tcp://127.0.0.1:1") == [
        "--set bus.pub: bus.rep: must not be where messages are published (bus.pub): tcp://127.0.0.1:1"
    ]


def test_orders_made_by_hand_are_bound_to_client_id_0_alone(write):
    assert load(None, ["orders.bind_manual=true", "tws.client_id=0"]).orders.bind_manual
    fault = "orders.bind_manual: is for client id 0 alone, and tws.client_id is"
    assert faults(None, "orders.bind_manual=true") == [f"--set {fault} 1"]
    assert faults(write("tws: {client_id: 3}\norders: {bind_manual: true}")) == [f"FILE:2: {fault} 3"]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("tws.port", "--set tws.port: expected KEY=VALUE, such as tws.port=4001"),
        ("=1", "--set =1: expected KEY=VALUE, such as tws.port=4001"),
        ("tws.port=x", "--set tws.port: expected a whole number from 1 to 65535, got 'x'"),
        ("tws.prot=1", "--set tws.prot: unknown key; did you mean port?"),
        ("port=1", "--set port: unknown key; did you mean tws.port?"),
        ("tws=1", "--set tws: expected a map of keys, got 1"),
        ("tws.=1", "--set tws.: unknown key"),
        ("tws.port.x=1", "--set tws.port.x: tws.port: expected a whole number from 1 to 65535, got a map"),
        ("tws.port=[", "--set tws.port: not a YAML value: line 1, column 2: expected the node content, but found"),
        ("tws.port={a: 1, a: 2}", "--set tws.port: expected a whole number from 1 to 65535, got a map"),
    ],
)
def test_a_fault_of_an_override_names_the_override(override, fault):
    (said,) = faults(None, override)
    assert said.startswith(fault)


def test_an_override_below_a_value_is_refused_and_the_file_keeps_its_own_faults(write):
    assert faults(write("tws: {port: x}"), "tws.port.x=1", "bus.rep=") == [
        "--set tws.port.x: tws.port has no keys below it",
        "FILE:1: tws.port: expected a whole number from 1 to 65535, got 'x'",
        "--set bus.rep: expected tcp://127.0.0.1:PORT or ipc:///PATH, got ''",
    ]


def test_all_faults_are_named_at_once(write):
    given = write("tws: {port: x, prot: 1}\nbus: {pub: 1, pub: 2}\nlogs: {}\ninstruments: {+: {symbol: 5, x: 1}}\n")
    assert [fault.partition(": ")[2].partition(": ")[0] for fault in faults(given, "bus.linger_ms=-1")] == [
        "line 2",
        "tws.port",
        "tws.prot",
        "bus.pub",
        "expected a whole number from 0 to 60000, got -1",
        "logs",
        "instruments.+",
        "instruments.+.symbol",
        "instruments.+.x",
    ]


def test_a_key_given_twice_is_a_fault_and_not_the_last_ones_victory(write):
    assert faults(write("tws:\n  port: 1\n  host: a\n  port: 2\n")) == [
        "FILE: line 4: tws.port: given twice, first in line 2; keep one"
    ]
    assert faults(write('"a\\n": 1\n"a\\n": 2\n'))[0] == r"FILE: line 2: 'a\n': given twice, first in line 1; keep one"


SECTIONS = ", ".join(item.name for item in dataclasses.fields(Config))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1]", f"FILE: expected a map of sections ({SECTIONS}), got a list"),
        ("5", f"FILE: expected a map of sections ({SECTIONS}), got 5"),
        ("tws:\n  port: 1\n bus: 3\n", "FILE: not YAML: line 3, column 2: "),
        ("tws: {port: 1", "FILE: not YAML: line 1, column 14: "),
        ("tws: &a {}\nbus: *a\n", "FILE: not YAML: line 2, column 6: aliases (*) are not read here"),
        ("tws: !!map {}\n", "FILE: not YAML: line 1, column 6: tags (!) are not read here"),
        ("[" * 9999, "FILE: not YAML: line 1, column 17: nested deeper than 16"),
        ("? [a]\n: 1\n", "FILE: not YAML: line 1: a key must be a word"),
        ("a: 1\n---\nb: 1\n", "FILE: not YAML: line 2, column 1: but found another document"),
        ("a: \x00", "FILE: not YAML: "),
        (r'a: "\UFFFFFFFF"', "FILE: not YAML: "),
        (r'a: "\U00110000"', "FILE: not YAML: "),
    ],
)
def test_what_is_not_a_document_is_refused_with_its_line(write, text, fault):
    (said,) = faults(write(text))
    assert said.startswith(fault)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"tws: \xe9")
    assert faults(tmp_path / "none.yaml") == ["FILE: cannot be read: No such file or directory"]
    assert faults(tmp_path) == ["FILE: cannot be read: Is a directory"]
    assert faults(tmp_path / "latin.yaml")[0].startswith("FILE: cannot be read: 'utf-8' codec can't decode byte 0xe9")
    assert faults(tmp_path / "a\0b")[0].endswith("cannot be read: embedded null byte")


def test_a_long_value_is_cut_short():
    (said,) = faults(None, f"log.level={'x' * 1000}")
    assert said.endswith("x ...")
    assert len(said) < 200


# --- whatever is written


NAMES = st.sampled_from([part for key, _ in settings() for part in key.split(".")] + ["ES", *validators.CONTRACT])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | NAMES
TREES = st.recursive(SCALARS, lambda tree: st.lists(tree) | st.dictionaries(NAMES | st.text(), tree), max_leaves=20)


def usable_or_refused(path: pathlib.Path | None, *overrides: str) -> None:
    said = ["nothing wrong"]
    try:
        loaded = load(path, overrides)
    except ConfigError as error:
        said = list(error.faults)
    else:
        assert 1 <= loaded.tws.port <= 65535
        assert not {*loaded.bus.pub} & {*loaded.bus.rep}
    assert said
    assert all(fault.isascii() and fault.isprintable() for fault in said)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "c.yaml"


@given(tree=TREES)
def test_whatever_yaml_holds_it_is_a_configuration_or_refused(page, tree):
    page.write_text(yaml.safe_dump(tree, allow_unicode=False))
    usable_or_refused(page)


@given(text=st.text() | st.text("{}[]:,-?&*!|>'\"%@`# \n\tab1.\\uUx"))
@example('"\\UFFFFFFFF"')
@example(">\N{INVERTED EXCLAMATION MARK}")
@example('"\\n": 1\n"\\n": 2')
@example("%YAML " + "9" * 5000 + ".1\n--- a")
@example("tws: {port: " + "9" * 5000 + "}")
def test_whatever_text_is_there_it_is_a_configuration_or_refused(page, text):
    page.write_text(text, errors="replace")
    usable_or_refused(page)


@given(raw=st.binary())
def test_whatever_bytes_are_there_they_are_a_configuration_or_refused(page, raw):
    page.write_bytes(raw)
    usable_or_refused(page)


@given(key=st.lists(NAMES, min_size=1, max_size=4), value=st.text() | TREES.map(yaml.safe_dump))
def test_whatever_an_override_says_it_is_a_configuration_or_refused(key, value):
    usable_or_refused(None, f"{'.'.join(key)}={value}", value)


NUMBERS = st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)


@given(value=st.none() | st.booleans() | NUMBERS)
def test_a_scalar_written_by_another_yaml_is_read_as_the_same_value(value):
    read, _, _ = yaml_document.parse(yaml.safe_dump({"a": value}))
    assert read == {"a": value}
    assert type(read["a"]) is type(value)


@given(value=st.text() | st.text("0123456789+-.eE_xo:"))
@example("0E0")
@example("-.5")
def test_text_written_by_another_yaml_is_read_as_the_same_text(value):
    assert yaml_document.parse(yaml.safe_dump({"a": value}))[0] == {"a": value}
