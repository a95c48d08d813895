"""Price records: their exact keys, their days, their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.engine.pricing import price_files, user_prices
from harness.errors import SpecError
from harness.money.table import (
    PriceTable,
    applicable,
    check_prices,
    for_hosts,
    nearest_model,
    price_file,
    shipped,
)
from harness.schema import PriceRecord

RECORD = PriceRecord(
    backend="openai",
    model="m",
    input_usd_per_token="0.000001",
    output_usd_per_token="0.000002",
    date="2026-03-01",
    source="the test",
)
OPENAI = ["https://api.openai.com/v1"]


def on(model, day="2026-11-20", table=None, urls=OPENAI):
    return for_hosts((table or shipped()).on("openai", model, day), urls)


def test_a_longer_name_is_another_model():
    """The table that this data is from billed gpt-4o-mini as gpt-4o, for 16.7 times as much."""
    small, large = on("gpt-4o-mini"), on("gpt-4o")
    assert small.input_usd_per_token == "0.00000015"
    assert small.output_usd_per_token == "0.0000006"
    assert large.input_usd_per_token == "0.0000025"
    for name in ("gpt-4o-mini-2024-07-18", "gpt-4", "GPT-4o", "openai/gpt-4o", " gpt-4o", ""):
        assert on(name) is None, name


def test_the_shipped_records_name_day_and_source():
    for record in shipped().prices:
        assert "WattBot" in record.source and "not checked" in record.source
        assert record.date == "2026-02-14"
        assert record.host, "another server of the same dialect has other prices"


def test_another_server_is_not_that_provider():
    assert on("gpt-4o", urls=["http://127.0.0.1:8080/v1"]) is None
    assert on("gpt-4o", urls=[*OPENAI, "http://127.0.0.1:8080/v1"]) is None
    assert on("gpt-4o", urls=["https://API.OpenAI.com/v1"]) is not None
    assert on("gpt-4o", urls=["https://api.openai.com.evil.test/v1"]) is None


def test_the_newest_record_up_to_the_day_counts():
    days = [replace(RECORD, date=day) for day in ("2026-05-01", "2026-01-01", "2026-03-01")]
    table = PriceTable(days)
    found = {day: on("m", day, table) for day in ("2025-12-31", "2026-03-01", "2026-04-30")}
    assert found["2025-12-31"] is None
    assert found["2026-03-01"].date == found["2026-04-30"].date == "2026-03-01"
    assert on("m", "2027-01-01", table).date == "2026-05-01"
    assert table.later("openai", "m", "2025-12-31").date == "2026-01-01"


def test_an_earlier_layer_wins_whatever_its_day():
    own = PriceTable([replace(RECORD, input_usd_per_token="0.5", date="2020-01-01")])
    table = PriceTable([RECORD, replace(RECORD, host="api.openai.com", request_usd="1")])
    prices = applicable((own, table), "openai", "m", "2026-11-20")
    assert for_hosts(prices, OPENAI).input_usd_per_token == "0.5"
    prices = applicable((PriceTable(), table), "openai", "m", "2026-11-20")
    assert for_hosts(prices, OPENAI).request_usd == "1"  # what is said of this server alone
    assert for_hosts(prices, ["http://other.test/"]).request_usd == "0"


def test_the_nearest_name_is_for_people():
    assert nearest_model("gpt-4o-min", [shipped()]) == "gpt-4o-mini"
    assert nearest_model("llama-4-scout", [shipped()]) is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"input_usd_per_token": "-1"}, r"\[0\]\.input_usd_per_token: '-1' is no amount"),
        ({"cached_input_usd_per_token": "cheap"}, r"\[0\]\.cached_input_usd_per_token"),
        ({"request_usd": ""}, r"\[0\]\.request_usd"),
        ({"date": "14.2.2026"}, r"\[0\]\.date: .* is no day"),
        ({"date": "20260214"}, r"\[0\]\.date"),
        ({"model": " "}, r"\[0\]\.model: it is empty"),
        ({"source": ""}, r"\[0\]\.source"),
    ],
)
def test_a_record_is_checked_field_by_field(change, where):
    with pytest.raises(SpecError, match=where):
        check_prices([replace(RECORD, **change)], "$.prices")


def test_a_price_is_said_once_a_day():
    check_prices([RECORD, replace(RECORD, date="2026-03-02")], "$.prices")
    with pytest.raises(SpecError, match=r"\$\.prices\[1\].*second time"):
        check_prices([RECORD, replace(RECORD, output_usd_per_token="1")], "$.prices")


def plain(**change):
    return {
        "backend": "openai",
        "model": "m",
        "input_usd_per_token": "0.1",
        "output_usd_per_token": "0.2",
        "date": "2026-01-01",
        "source": "the invoice",
    } | change


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        ([], r"f: \$: expected a mapping"),
        ({"prices": [plain(model=1)]}, r"f: \$\.prices\[0\]\.model"),
        ({"prices": [plain(input_usd_per_token=0.1)]}, r"\[0\]\.input_usd_per_token"),
        ({"prices": [plain(price="1")]}, r"\[0\]\.price: there is no such field"),
        ({"prices": [], "version": 2}, r"version 1, this is 2.*upgrade"),
        ({"records": []}, r"\$\."),
    ],
)
def test_a_file_is_decoded_strictly(raw, match):
    with pytest.raises(SpecError, match=match):
        price_file(raw, "f")


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CONFIG_DIR", str(tmp_path))
    (tmp_path / "prices").mkdir()
    return tmp_path


def write(path: Path, *records, text=None):
    path.write_text(text or json.dumps({"prices": [*records]}))
    return path


def test_the_files_of_a_user(own, monkeypatch):
    kept = write(own / "prices" / "a.json", plain())
    write(own / "prices" / "notes.txt", text="not a price file")
    named = write(
        own / "named.yaml",
        text="prices:\n  - {backend: openai, model: n, input_usd_per_token: '1e-06',\n"
        "     output_usd_per_token: '0', date: '2026-01-01', source: a page}\n",
    )
    monkeypatch.setenv("HARNESS_PRICES", f"{named}:{kept}")
    assert price_files() == [named, kept]  # each once
    assert [(path, record.model) for path, record in user_prices()] == [(named, "n"), (kept, "m")]


def test_mistakes_in_a_users_files(own, monkeypatch):
    first = write(own / "prices" / "a.json", plain())
    second = write(own / "prices" / "b.json", plain(output_usd_per_token="0.3"))
    with pytest.raises(SpecError, match=rf"{second}: .* is in {first} as well"):
        user_prices()
    second.write_text("prices:\n  - {")
    with pytest.raises(SpecError, match=r"b\.json"):
        user_prices()
    monkeypatch.setenv("HARNESS_PRICES", str(own / "gone.json"))
    with pytest.raises(SpecError, match=r"HARNESS_PRICES: .*gone\.json: there is no such file"):
        user_prices()


def test_a_day_without_quotes_is_told_what_to_do(own):
    write(
        own / "prices" / "a.yaml",
        text="prices:\n  - {backend: openai, model: n, input_usd_per_token: '1',\n"
        "     output_usd_per_token: '0', date: 2026-01-01, source: a page}\n",
    )
    with pytest.raises(SpecError, match=r"prices\[0\]\.date"):
        user_prices()
