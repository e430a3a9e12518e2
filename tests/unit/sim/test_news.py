from __future__ import annotations

import base64
import re
from datetime import UTC, datetime

import pytest

from ibbridge.sim import SimulatedTws
from ibbridge.sim.engine import EPOCH
from ibbridge.sim.market.instruments import NEWS_PROVIDERS
from ibbridge.sim.reference_data.news_archive import _pdf
from tests.support.simulator_client import AAPL, Client, codes, names, only

ALL = "+".join(NEWS_PROVIDERS)
APPLE = 265598
HOUR = 3600


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def headlines(client, number=300, papers=ALL, *, start="", end=""):
    answer = client.ask(
        "reqHistoricalNews", reqId=1, conId=APPLE, providerCodes=papers, startDateTime=start, endDateTime=end,
        totalResults=number,
    )  # fmt: skip
    (end,) = only(answer, "historicalNewsEnd")
    assert names(answer)[-1] == "historicalNewsEnd"
    return only(answer, "historicalNews"), end["hasMore"]


def at(row):
    return datetime.strptime(row["time"], "%Y-%m-%d %H:%M:%S.0").replace(tzinfo=UTC).timestamp()


def test_providers_have_names(client):
    (found,) = only(client.ask("reqNewsProviders"), "newsProviders")
    assert {"code": "BRFG", "name": "Briefing.com General Market Columns"} in found["newsProviders"]


def test_past_headlines_are_the_newest_in_order_and_never_from_the_future(client):
    rows, more = headlines(client)
    assert more
    assert len(rows) == 300
    times = [at(row) for row in rows]
    assert times == sorted(times, reverse=True)
    assert times[0] <= EPOCH
    assert {row["providerCode"] for row in rows} == set(NEWS_PROVIDERS)


@pytest.mark.parametrize("number", [1, 5, 40])
def test_fewer_are_the_newest_of_all(client, number):
    rows, more = headlines(client, number)
    assert rows == headlines(client)[0][:number]
    assert more


def test_a_stretch_of_time_excludes_its_start_and_includes_its_end(client):
    every, _ = headlines(client, 20)
    rows, more = headlines(client, start=every[9]["time"], end=every[4]["time"])
    assert rows == every[4:9]
    assert not more
    assert headlines(client, end=every[4]["time"])[0][:5] == every[4:9]


def test_times_are_taken_in_either_form(client):
    rows, _ = headlines(client, end="2026-01-04 12:00:00.0")
    assert rows == headlines(client, end="20260104-12:00:00")[0]
    assert rows == headlines(client, end="20260104 07:00:00 US/Eastern")[0]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"providerCodes": "NOBODY"}, 321),
        ({"providerCodes": ""}, 321),
        ({"conId": 1}, 200),
        ({"totalResults": 0}, 321),
        ({"totalResults": None}, 321),
        ({"startDateTime": "yesterday"}, 321),
    ],
)
def test_wrong_questions_for_headlines_are_refused(client, wrong, code):
    asked = {"conId": APPLE, "providerCodes": "BRFG", "startDateTime": "", "endDateTime": "", "totalResults": 5}
    assert codes(client.ask("reqHistoricalNews", reqId=1, **asked | wrong)) == [code]


def test_every_headline_has_an_article_and_some_are_documents(client):
    kinds = set()
    for row in headlines(client, 60)[0]:
        answer = client.ask("reqNewsArticle", reqId=2, providerCode=row["providerCode"], articleId=row["articleId"])
        (article,) = only(answer, "newsArticle")
        kinds.add(article["articleType"])
        if article["articleType"] == 0:
            assert row["headline"] in article["articleText"]
        else:
            printed = check_pdf(base64.b64decode(article["articleText"], validate=True))
            assert row["headline"] in printed
    assert kinds == {0, 1}


def test_a_headline_is_printed_without_what_ends_a_text_in_a_document():
    (line,) = re.findall(r"\((DAX.*?)\) Tj", check_pdf(_pdf("DAX (40): \\ up" + " and up" * 20)))
    assert line == ("DAX [40]: / up" + " and up" * 20)[:100]


def check_pdf(document):
    """Every object is where the table says, and the table where the end says. Return what is printed."""
    assert document.startswith(b"%PDF-1.4")
    assert document.endswith(b"%%EOF\n")
    table = int(document.rpartition(b"startxref\n")[2].partition(b"\n")[0])
    assert document[table:].startswith(b"xref\n")
    places = [int(place) for place in re.findall(rb"(\d{10}) 00000 n ", document[table:])]
    for number, place in enumerate(places, 1):
        assert document[place:].startswith(b"%d 0 obj" % number)
    ((length, content),) = re.findall(rb"<</Length (\d+)>>\nstream\n(.*)\nendstream", document, re.DOTALL)
    assert int(length) == len(content)
    return content.decode()


@pytest.mark.parametrize("article", ["", "BRFG$", "BRFG$00000001500000", "FLY$0fd4fb2e4feb0", "BRFG$ffffffffffff0"])
def test_what_was_not_written_is_not_available(client, article):
    assert codes(client.ask("reqNewsArticle", reqId=2, providerCode="BRFG", articleId=article)) == [10172]


def test_what_will_be_written_is_not_available_yet():
    later = Client(SimulatedTws(seed=1))
    later.wait(8 * HOUR)
    row = next(row for row in headlines(later)[0] if at(row) > EPOCH)
    asked = {"reqId": 2, "providerCode": row["providerCode"], "articleId": row["articleId"]}
    assert names(later.ask("reqNewsArticle", **asked)) == ["newsArticle"]
    assert codes(Client(SimulatedTws(seed=1)).ask("reqNewsArticle", **asked)) == [10172]


# -- live


def test_live_headlines_are_those_that_are_history_later(client):
    first = only(client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="mdoff,292"), "tickNews")
    assert 1 <= len(first) <= 3
    followed = only(client.wait(6 * HOUR), "tickNews")
    assert {row["tickerId"] for row in followed} == {5}
    expected = [row["articleId"] for row in headlines(client)[0] if at(row) > EPOCH]
    assert [row["articleId"] for row in followed] == expected[::-1]
    assert expected


def test_a_line_may_name_its_providers(client):
    client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="mdoff,292:FLY+DJNL")
    followed = only(client.wait(6 * HOUR), "tickNews")
    expected = [row["articleId"] for row in headlines(client, papers="FLY+DJNL")[0] if at(row) > EPOCH]
    assert [row["articleId"] for row in followed] == expected[::-1]
    assert expected
    assert codes(client.ask("reqMktData", reqId=6, contract=AAPL, genericTickList="292:XYZ")) == [321]


def test_a_broad_tape_has_everything_that_one_provider_writes(client):
    tape = {"symbol": "FLY:FLY_ALL", "secType": "NEWS", "exchange": "FLY"}
    assert names(client.ask("reqContractDetails", reqId=1, contract=tape)) == ["contractDetails", "contractDetailsEnd"]
    client.ask("reqMktData", reqId=5, contract=tape, genericTickList="mdoff,292")
    told = client.wait(HOUR)
    assert set(names(told)) == {"tickNews"}
    assert {row["providerCode"] for _, row in told} == {"FLY"}
    unknown = tape | {"symbol": "XYZ:XYZ_ALL"}
    assert codes(client.ask("reqMktData", reqId=6, contract=unknown, genericTickList="mdoff,292")) == [200]


# -- bulletins


def test_bulletins_of_the_day_come_first_if_they_are_wanted(client):
    early = only(client.ask("reqNewsBulletins", allMsgs=True), "updateNewsBulletin")
    assert len(early) >= 3
    later = only(client.wait(6 * HOUR), "updateNewsBulletin")
    assert later
    numbers = [row["msgId"] for row in early + later]
    assert numbers == sorted(set(numbers))
    assert {row["msgType"] for row in early + later} <= {1, 2, 3}
    other = Client(client.host, 2)
    assert only(other.ask("reqNewsBulletins", allMsgs=True), "updateNewsBulletin") == early + later


def test_only_new_bulletins_come_to_who_wants_no_old_ones_and_none_after_the_cancel(client):
    assert client.ask("reqNewsBulletins", allMsgs=False) == []
    assert only(client.wait(6 * HOUR), "updateNewsBulletin")
    assert client.ask("cancelNewsBulletins") == []
    assert client.wait(6 * HOUR) == []
