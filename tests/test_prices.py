"""Prices and caching rules: what the reference says, nothing invented, nothing rewritten."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import genai_prices
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_advisor.costs import caching, prices
from finetune_advisor.errors import BadInput

TODAY = date(2026, 11, 22)
TABLE = prices.load()
D = Decimal

RECORDED = 215
RECORDED_HASH = "ce4fb64a1f984b84"


def values(name: str, *units: str, on: date = TODAY, prompt_tokens: int = 0) -> list[Decimal | None]:
    found = TABLE.get(name, on, prompt_tokens=prompt_tokens)
    return [found[f"usd_per_{unit}"].value if f"usd_per_{unit}" in found else None for unit in units]


def decimals(text: str) -> list[Decimal]:
    return [D(part) for part in text.split()]


def test_shipped_rows_are_only_ever_appended() -> None:
    """A past report must find the prices that it was made with."""
    lines = [
        f"{row.price.name}|{row.price.unit}|{row.price.value}|{row.price.source}|{row.price.checked}|{row.price.basis}"
        f"|{row.start}|{row.until}|{row.above_prompt_tokens}"
        for row in TABLE.rows[:RECORDED]
    ]
    assert len(lines) == RECORDED, "a shipped price was removed: leave it in place, with its `until`"
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert digest == RECORDED_HASH, "a shipped price was changed: put it back and append a new [[price]] after the last"


@pytest.mark.parametrize(
    ("name", "training", "standard", "batch"),
    [
        ("ft:gpt-4.1-2025-04-14", "25", "3 0.75 12", "1.5 0.5 6"),
        ("ft:gpt-4.1-mini-2025-04-14", "5", "0.8 0.2 3.2", "0.4 0.1 1.6"),
        ("ft:gpt-4o-2024-08-06", "25", "3.75 1.875 15", "2.225 0.9 12.5"),
        ("ft:gpt-4o-mini-2024-07-18", "3", "0.3 0.15 1.2", "0.15 0.075 0.6"),
    ],
)
def test_openai_tuned_models_cost_what_the_price_page_says(name: str, training: str, standard: str, batch: str) -> None:
    tuned = f"{name}:our-org:suffix:AbC123"
    assert values(tuned, "mtok_training") == decimals(training)
    assert values(tuned, "mtok_input", "mtok_cached", "mtok_output") == decimals(standard)
    assert values(tuned, "mtok_input_batch", "mtok_cached_batch", "mtok_output_batch") == decimals(batch)
    assert "last published" in TABLE.get(tuned, TODAY)["usd_per_mtok_training"].source


@pytest.mark.parametrize("name", ["azure:ft:gpt-4.1-2025-04-14", "gpt-4.1-2025-04-14.ft-0123456789abcdef"])
def test_azure_charges_by_training_type_and_by_the_hour_of_hosting(name: str) -> None:
    kinds = ("training", "training_data_zone", "training_regional", "training_developer", "input", "cached", "output")
    assert values(name, *(f"mtok_{kind}" for kind in kinds)) == decimals("25 27.5 33 12.5 2 0.5 8")
    hourly = TABLE.get(name, TODAY)["usd_per_hour_hosting"].value
    assert (hourly, hourly * 730) == (D("1.70"), D("1241.00"))


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        ("together:lora:16b", "0.48"),
        ("together:lora:69b", "1.50"),
        ("together:full:100b", "3.20"),
        ("together:dpo-lora:16b", "1.20"),
        ("fireworks:lora:80b", "3.00"),
    ],
)
def test_providers_that_price_training_by_size(name: str, usd: str) -> None:
    price = TABLE.get(name, TODAY)["usd_per_mtok_training"]
    assert price.value == D(usd)
    assert price.source.startswith("secondary")


def test_a_tuned_model_at_azure_is_not_priced_as_one_at_openai() -> None:
    assert values("azure:ft:gpt-4o-mini-2024-07-18", "mtok_input", "mtok_input_batch") == [D("0.15"), None]
    assert values("gpt-4o-mini-2024-07-18.ft-0123", "mtok_output", "mtok_output_batch") == [D("0.60"), None]


def test_a_model_that_is_also_paid_by_request_is_asked_for() -> None:
    with pytest.raises(BadInput, match="No price is known"):
        TABLE.get("perplexity:sonar", TODAY)


def test_the_same_chip_is_rented_at_prices_that_differ_fivefold() -> None:
    offers = TABLE.hourly_range("h100", TODAY)
    assert offers is not None
    assert [price.value for price in offers] == [D("2.40"), D("12.29")]
    assert TABLE.get("h100", TODAY)["usd_per_hour"].value == D("3.99")
    alone = TABLE.hourly_range("mi300x", TODAY)
    assert alone is not None and alone[0] == alone[1]
    assert TABLE.hourly_range("h1", TODAY) is None


def test_an_offer_that_has_ended_is_out_of_the_range() -> None:
    dearest = next(row for row in TABLE.rows if row.price.name == "h100:hyperscaler")
    rest = [row for row in TABLE.rows if row is not dearest]
    offers = prices.PriceTable((*rest, replace(dearest, until=date(2026, 11, 1)))).hourly_range("h100", TODAY)
    assert offers is not None and offers[1].value == D("4.29")


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("gpt-6-luna", "0.10 0.01 0.50"),
        ("gpt-6-sol", "2 0.20 10"),
        ("gpt-6.1-terra", "1 0.05 5"),
        ("gpt-5.4-mini", "0.75 0.075 4.50"),
        ("gpt-5.5", "5 0.50 30"),
        ("gpt-4o", "2.50 1.25 10"),
        ("gpt-4.1-mini-2025-04-14", "0.40 0.10 1.60"),
        ("openai:gpt-4o-mini", "0.15 0.075 0.60"),
    ],
)
def test_untuned_models_cost_what_the_reference_says(name: str, standard: str) -> None:
    assert values(name, "mtok_input", "mtok_cached", "mtok_output") == decimals(standard)


def test_a_snapshot_with_a_price_of_its_own_keeps_it() -> None:
    assert values("gpt-4o-2024-05-13", "mtok_input") == [D(5)]


def test_embedding_tokens_are_input_tokens() -> None:
    assert values("text-embedding-3-small", "mtok_input", "mtok_input_batch", "mtok_output") == [
        D("0.02"),
        D("0.01"),
        None,
    ]


def test_a_price_from_the_package_names_its_version_and_its_date() -> None:
    price = TABLE.get("claude-sonnet-5-5", TODAY)["usd_per_mtok_cached"]
    assert (price.value, price.basis) == (D("0.1"), "source")
    assert price.source.startswith(f"genai-prices {genai_prices.__version__} (anthropic")
    assert date(2026, 1, 1) < date.fromisoformat(price.checked) <= TODAY
    undated = TABLE.get("mistral:mistral-nemo", TODAY)["usd_per_mtok_input"]
    assert "no check date of its own" in undated.source and undated.checked


def test_a_day_in_the_past_gets_the_prices_of_that_day() -> None:
    """genai-prices knows o3 at 10 and 40 until June 2025, at 2 and 8 since."""
    assert values("o3", "mtok_input", "mtok_output", on=date(2025, 5, 1)) == [D(10), D(40)]
    assert values("o3", "mtok_input", "mtok_output") == [D(2), D(8)]
    assert values("gpt-4.1", "mtok_input_batch", on=date(2026, 9, 1)) == [None]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["gpt-5.4", "gpt-6-luna", "gemini-2.5-pro", "claude-sonnet-4-5", "gpt-5.5", "deepseek-chat"]),
    st.sampled_from([1, 1000, 200_000, 200_001, 272_000, 272_001, 900_000]),
)
def test_unit_prices_times_tokens_is_what_the_package_charges_for_one_request(name: str, prompt_tokens: int) -> None:
    """Long-context tiers apply to the whole request: the trap of pricing a million tokens at once."""
    full, cached, output = values(name, "mtok_input", "mtok_cached", "mtok_output", prompt_tokens=prompt_tokens)
    assert full is not None and cached is not None and output is not None
    charged = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=prompt_tokens, cache_read_tokens=prompt_tokens // 2, output_tokens=70),
        name,
        genai_request_timestamp=datetime(2026, 11, 22, 12, tzinfo=UTC),
    )
    half = prompt_tokens // 2
    assert (full * (prompt_tokens - half) + cached * half + output * 70) / 1_000_000 == charged.total_price


def test_a_retired_model_has_no_price_even_where_the_package_still_has_one() -> None:
    for name, last in (("gpt-4.1", "2027-01-14"), ("ft:gpt-4o-mini-2024-07-18", "2027-01-14")):
        with pytest.raises(BadInput, match=last):
            TABLE.get(name, date(2027, 1, 15))
    with pytest.raises(BadInput, match="2026-10-23"):
        TABLE.get("o4-mini", TODAY)
    assert values("ft:gpt-4.1-mini-2025-04-14", "mtok_training", "mtok_output", on=date(2027, 1, 10)) == [
        None,
        D("3.20"),
    ]


@pytest.mark.parametrize(
    "name", ["gpt-9", "Qwen/Qwen3.5-9B", "ft:gpt-9:org::id", "nobody:gpt-4.1", "sonar", "", "::", "h100:moon"]
)
def test_an_unknown_price_is_asked_for_and_never_invented(name: str) -> None:
    with pytest.raises(BadInput, match="No price is known") as caught:
        TABLE.get(name, TODAY)
    assert f'[[price]]\nname = "{name}"\nvalues.usd_per_mtok_input' in caught.value.hint


def test_the_toml_that_is_asked_for_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        TABLE.get("our-model", TODAY)
    own = tmp_path / "prices.toml"
    own.write_text(caught.value.hint[caught.value.hint.index("[[price]]") :].replace("0.00", "0.25"), encoding="utf-8")
    assert prices.load(own).get("our-model", TODAY)["usd_per_mtok_output"].value == D("0.25")


def test_every_shipped_row_names_its_source_and_the_day_it_was_checked() -> None:
    assert all(row.price.source and row.price.checked for row in TABLE.rows)
    assert {row.price.basis for row in TABLE.rows} == {"source", "assumed"}
    assert TABLE.get("cpu-2vcpu", TODAY)["usd_per_hour"].basis == "assumed"


def test_a_users_row_goes_first_and_changes_the_version(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        '[[price]]\nname = "l4"\nunit = "usd_per_hour"\nvalue = 0.44\n\n'
        '[[price]]\nname = "gpt-6-luna"\nvalues.usd_per_mtok_input = 0.07\n\n'
        '[[price]]\nname = "ours"\nunit = "usd_per_hour"\nvalue = 2\nfrom = 2026-01-01\nuntil = 2026-06-30\n',
        encoding="utf-8-sig",
    )
    table = prices.load(own)
    price = table.get("l4", TODAY)["usd_per_hour"]
    assert (price.value, price.basis, price.source) == (D("0.44"), "user", str(own))
    luna = table.get("gpt-6-luna", TODAY, prompt_tokens=300_000)
    assert (luna["usd_per_mtok_input"].value, luna["usd_per_mtok_output"].value) == (D("0.07"), D("0.75"))
    assert table.get("ours", date(2026, 6, 30))["usd_per_hour"].value == 2
    for outside in (date(2025, 12, 31), date(2026, 7, 1)):
        with pytest.raises(BadInput, match="holds on"):
            table.get("ours", outside)
    assert table.version != TABLE.version == prices.load().version


def test_the_last_row_in_force_counts() -> None:
    old = next(row for row in TABLE.rows if row.price.name == "t4")
    new = replace(old, price=replace(old.price, value=D(9)), start=date(2027, 1, 1))
    table = prices.PriceTable((*TABLE.rows, new))
    assert table.get("t4", date(2026, 12, 31))["usd_per_hour"].value == D("0.526")
    assert table.get("t4", date(2027, 1, 1))["usd_per_hour"].value == 9


def test_a_price_that_starts_later_leaves_todays_in_place(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('[[price]]\nname = "gpt-5.5"\nvalues.usd_per_mtok_input = 9\nfrom = 2027-02-01\n', encoding="utf-8")
    table = prices.load(own)
    assert table.get("gpt-5.5", TODAY)["usd_per_mtok_input"].value == 5
    assert table.get("gpt-5.5", date(2027, 2, 1))["usd_per_mtok_input"].value == 9


def test_prices_checked_more_than_90_days_ago_are_flagged() -> None:
    tuned = TABLE.get("ft:gpt-4.1-mini-2025-04-14", TODAY)
    flagged = prices.stale(tuned.values(), TODAY)
    assert tuned["usd_per_mtok_training"] in flagged and tuned["usd_per_mtok_input"] not in flagged
    fresh = TABLE.get("l4", TODAY).values()
    assert prices.stale(fresh, date(2027, 2, 20)) == ()
    assert prices.stale(fresh, date(2027, 2, 21)) == tuple(fresh)
    assert prices.stale([prices.given("labour", 80, "usd_per_hour")], date(2040, 1, 1)) == ()


def test_age_counts_from_the_oldest_dated_source_that_is_in_force() -> None:
    assert TABLE.age_days(TODAY) == 386
    assert prices.age_days(TABLE.get("h100", TODAY).values(), TODAY) == 13
    assert prices.age_days([prices.given("labour", 80, "usd_per_hour")], TODAY) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[price]]\nname = ", "not valid TOML"),
        ('[[price]]\nname = "x"\nunit = "usd_per_hour"\nvalue = -1\n', "price number 1 value"),
        ('[[price]]\nname = "x"\nunit = "usd_per_hour"\nvalue = nan\n', "price number 1 value"),
        ('[[price]]\nname = "x"\nunit = "eur_per_hour"\nvalue = 1\n', "price number 1 unit"),
        ('[[price]]\nname = "x"\nunit = "usd_per_hour"\nvalue = 1\ncolour = "red"\n', "price number 1 colour"),
        ('[[price]]\nname = "x"\nunit = "usd_per_hour"\n', "either unit and value or values"),
        ('[[price]]\nname = "x"\nvalues.eur_per_hour = 1\n', "price number 1 values eur_per_hour"),
        ('[[price]]\nname = "x"\nvalue = 1\nvalues.usd_per_hour = 1\n', "either unit and value or values"),
        ("", "price"),
    ],
)
def test_an_unusable_price_file_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=says):
        prices.load(own)


def test_an_unreadable_price_file_is_one_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "prices.toml"
    binary.write_bytes("[[price]]".encode("utf-16"))
    for path in (binary, tmp_path / "none.toml"):
        with pytest.raises(BadInput, match="cannot be read"):
            prices.load(path)


@pytest.mark.parametrize(
    ("name", "minimum", "read", "write", "seconds"),
    [
        ("gpt-4o-mini", 1024, 0.5, 1.0, 300),
        ("ft:gpt-4.1-mini-2025-04-14:org::id", 1024, 0.25, 1.0, 300),
        ("openai:gpt-5.1", 1024, 0.1, 1.0, 300),
        ("gpt-6-luna", 1024, 0.1, 1.25, 1800),
        ("azure:gpt-4.1", 1024, None, 1.0, 300),
        ("claude-sonnet-4-5", 1024, 0.1, 1.25, 300),
        ("fireworks:glm-5p3", 0, 0.5, 1.0, 300),
        ("gemini-2.5-pro", 2048, 0.1, 1.0, 300),
    ],
)
def test_each_provider_has_its_own_caching_rule(
    name: str, minimum: int, read: float | None, write: float, seconds: float
) -> None:
    known = caching.rule(name)
    assert known is not None and known.source and known.checked
    assert (known.minimum_tokens, known.read_share) == (minimum, read)
    assert (known.write_share, known.lifetime_seconds) == (write, seconds)


def test_rules_agree_with_the_listed_prices_where_both_are_known() -> None:
    for name in ("gpt-4o-mini", "gpt-4.1-mini", "gpt-5", "gpt-5.4", "gpt-6-luna", "gpt-6.1-sol", "claude-sonnet-4-5"):
        known, (full, cached, written) = (
            caching.rule(name),
            values(name, "mtok_input", "mtok_cached", "mtok_cache_write"),
        )
        assert known is not None and full is not None and cached is not None
        assert float(cached / full) == pytest.approx(known.read_share)
        assert float((written or full) / full) == pytest.approx(known.write_share)


def test_no_discount_is_known_for_an_unknown_provider() -> None:
    assert caching.rule("meta-llama/Llama-3.3-70B-Instruct") is None
    assert caching.rule("l4") is None


def test_a_longer_lifetime_costs_more_to_write_where_it_can_be_chosen() -> None:
    """Anthropic, C11: 1.25 times for 5 minutes pays from the second use, 2 times for an hour from the third."""
    short, long = caching.rule("claude-sonnet-4-5"), caching.rule("claude-sonnet-4-5", lifetime="long")
    assert short is not None and long is not None
    assert (long.write_share, long.lifetime_seconds) == (2.0, 3600)
    assert (
        short.read_share is not None and short.write_share + short.read_share < 2 <= long.write_share + short.read_share
    )
    assert long.write_share + 2 * short.read_share < 3
    assert caching.rule("gpt-4.1", lifetime="long") == caching.rule("gpt-4.1")


def test_a_prefix_under_the_minimum_is_never_cached() -> None:
    """A few-shot prompt with the labels of banking77 alone has 397 tokens (C11)."""
    known = caching.rule("gpt-4.1-mini")
    assert known is not None
    assert caching.cached_share(known, 397, 1e9) == caching.cached_share(known, 1023.9, 1e9) == 0
    assert caching.cached_share(known, 1024, 1e9) == pytest.approx(1)


def test_the_share_of_cache_hits_is_what_a_simulation_finds() -> None:
    known, per_month = caching.rule("gpt-4.1-mini"), 6000.0
    assert known is not None
    gaps = random.Random(0)
    rate = per_month / caching.SECONDS_PER_MONTH
    hits = sum(gaps.expovariate(rate) <= known.lifetime_seconds for _ in range(40_000)) / 40_000
    share = caching.cached_share(known, 2000, per_month)
    assert share == pytest.approx(1 - math.exp(-rate * 300))
    assert hits == pytest.approx(share, abs=0.01)


@given(st.floats(0, 1e8), st.floats(0, 1e8))
def test_more_traffic_never_finds_less_in_the_cache(requests: float, more: float) -> None:
    known = caching.rule("gpt-6-luna")
    assert known is not None
    one, two = (caching.cached_share(known, 5000, each) for each in (requests, requests + more))
    assert 0 <= one <= two <= 1
