"""Prices are exact, begin on a day, and an unknown one is not zero."""

from datetime import date
from pathlib import Path

import pytest
import yaml
from docblocks import ROOT, blocks

from codexrun_core.prices.file import PriceFile
from codexrun_core.prices.table import PricesError, built_in, parse_prices

DAY = date(2026, 11, 24)


def table(*entries: str, version: str = "t1") -> str:
    return f'version: "{version}"\nprices:\n' + "".join(f"  - {{{entry}}}\n" for entry in entries)


def entry(model: str = "m", begins: str = "2026-01-01", **more: str) -> str:
    fields = {
        "model": model,
        "validFrom": begins,
        "source": "s",
        "input": "1",
        "cachedInput": "0.1",
        "output": "2",
    } | more
    return ", ".join(f"{key}: {value}" for key, value in fields.items())


FEE = {"tool": "web_search", "validFrom": "2026-01-01", "source": "s", "perThousandCalls": "10"}


def fees(*entries: dict[str, str]) -> str:
    return yaml.safe_dump({"fees": list(entries)})


def test_dollars_become_micro_dollars_without_a_float() -> None:
    price = (
        parse_prices(table(entry(input="0.125", cachedInput="0.000001", output="30")))
        .on(DAY)
        .models["m"]
    )
    assert (price.input, price.cached_input, price.cache_write, price.output) == (
        125_000,
        1,
        None,
        30_000_000,
    )


def test_of_a_model_s_prices_the_newest_that_has_begun_holds() -> None:
    prices = parse_prices(
        table(
            entry(begins="2026-09-01", input="3"),
            entry(begins="2026-12-01", input="9"),
            entry(input="2"),
        )
    )
    assert prices.on(date(2026, 8, 31)).models["m"].input == 2_000_000
    assert prices.on(DAY).models["m"].input == 3_000_000
    assert prices.on(date(2026, 12, 1)).models["m"].input == 9_000_000
    assert prices.on(date(2025, 1, 1)).models == {}


def test_the_gate_gets_every_rate_of_its_model() -> None:
    long = "{aboveInputTokens: 1000, input: 2, cachedInput: 0.2, output: 3}"
    prices = parse_prices(table(entry(cacheWrite="1.25", longContext=long))).on(DAY)
    assert prices.for_gate("m") == {
        "m": {
            "inputMicroUSDPerMTok": 1_000_000,
            "cachedInputMicroUSDPerMTok": 100_000,
            "cacheWriteMicroUSDPerMTok": 1_250_000,
            "outputMicroUSDPerMTok": 2_000_000,
            "longContext": {
                "aboveInputTokens": 1000,
                "inputMicroUSDPerMTok": 2_000_000,
                "cachedInputMicroUSDPerMTok": 200_000,
                "outputMicroUSDPerMTok": 3_000_000,
            },
        }
    }
    assert prices.for_gate("other") == {}


def test_the_gate_gets_tiers_and_the_fee_of_a_search() -> None:
    tiers = "{priority: {input: 2, cachedInput: 0.2, output: 4}}"
    text = table(entry(tiers=tiers, maxOutputTokens="32000")) + fees(FEE)
    prices = parse_prices(text).on(DAY)
    rates = prices.for_gate("m")["m"]
    assert rates["tiers"] == {
        "priority": {
            "inputMicroUSDPerMTok": 2_000_000,
            "cachedInputMicroUSDPerMTok": 200_000,
            "outputMicroUSDPerMTok": 4_000_000,
        }
    }
    assert rates["webSearchMicroUSDPerThousandCalls"] == 10_000_000
    assert (prices.max_output_tokens("m"), prices.max_output_tokens("n")) == (32_000, None)


def test_of_a_tool_s_fees_the_newest_that_has_begun_holds() -> None:
    later = FEE | {"validFrom": "2026-12-01", "perThousandCalls": "25"}
    prices = parse_prices(table(entry()) + fees(later, FEE))
    assert prices.on(DAY).fees == {"web_search": 10_000_000}
    assert prices.on(date(2026, 12, 1)).fees == {"web_search": 25_000_000}
    assert prices.on(date(2025, 12, 1)).fees == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: [", "not valid YAML"),
        ("version: x", "prices: missing; add it"),
        (table(entry(input="0.0000001")), "prices.0.input"),
        (table(entry(input="-1")), "prices.0.input"),
        (table(entry(input="free")), "prices.0.input"),
        (table(entry(outptu="1")), "prices.0.outptu"),
        (table(entry(), entry()), "m has two prices that apply from 2026-01-01"),
        (table(entry(tiers="{priority: {input: 1, output: 2}}")), "prices.0.tiers.priority"),
        (table(entry(maxOutputTokens="0")), "prices.0.maxOutputTokens"),
        (table(entry()) + fees(FEE, FEE), "web_search has two prices that apply from 2026-01-01"),
        (table(entry()) + fees(FEE | {"tool": "file_search"}), "fees.0.tool"),
        (table(entry()) + fees(FEE | {"perThousandCalls": "-1"}), "fees.0.perThousandCalls"),
    ],
)
def test_a_wrong_table_says_where(text: str, said: str) -> None:
    with pytest.raises(PricesError, match=said):
        parse_prices(text)


def test_our_own_table_names_a_source_for_every_price() -> None:
    ours = built_in()
    assert len({price.model for price in ours.prices}) >= 4
    for price in ours.prices:
        assert price.source.startswith("https://"), price.model
        assert price.valid_from <= date.fromisoformat(ours.version)
    for fee in ours.fees:
        assert fee.source.startswith("https://"), fee.tool
        assert fee.valid_from <= date.fromisoformat(ours.version)


def test_an_installation_s_own_file_is_read_again_when_it_changes_and_kept_when_it_breaks(
    tmp_path: Path,
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(table(entry(), version="a"))
    file = PriceFile(path)
    assert file.on(DAY).version == "a"
    for number, (text, version) in enumerate(
        [(table(entry(), version="b"), "b"), ("nonsense: [", "b"), (None, "b")]
    ):
        path.unlink()
        if text is not None:
            (tmp_path / f"new{number}").write_text(text)
            (tmp_path / f"new{number}").rename(path)
        assert file.on(DAY).version == version


def test_an_operator_does_not_start_with_a_table_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match=r"prices\.configMap"):
        PriceFile(tmp_path / "absent.yaml")


def test_the_documented_table_is_one() -> None:
    (block,) = [block for block in blocks(ROOT / "docs/prices.md") if block.language == "yaml"]
    assert (
        parse_prices(yaml.safe_load(block.text)["data"]["prices.yaml"])
        .on(date(2026, 12, 1))
        .models["gpt-5.5"]
        .output
        == 24_000_000
    )
