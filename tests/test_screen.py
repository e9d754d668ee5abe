"""The screen for personal data misses nothing that the scan finds, and lets plain text through."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetune_advisor.datasets import privacy, screen

HOLDING = [
    "-----BEGIN RSA PRIVATE KEY-----",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "sk-Ab3dEf6hIj9lMn2pQr5tUv",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1" * 20,
    "github_pat_" + "a1" * 30,
    "AIza" + "b" * 35,
    "xoxb-123456789012",
    "hf_" + "c" * 34,
    "Password: tr0ub4dor",
    "api_key=abc123def",
    "the ACCESS TOKEN is xyz789uvw",
    "PWD=abc1234",
    "pa\u017f\u017fword: abc1234",
    "jane@acme.org",
    "DE89 3704 0044 0532 0130 00",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "123-45-6789",
    "81.2.69.142",
    "2a00:1450:4001:81b::200e",
    "+49 30 5260070",
    "+1 (555) 010-9999",
    "(212) 555-0123",
    "212.555.0123",
    "020 7946 0958",
    "030/1234567",
    "06 12 34 56 78",
    "Phone: 8005551234",
    "mobile number is 555 12 34",
    "tel. 555-1234",
    "fax no.: 5551234",
    "\u0665\u0665\u0665 +\u0669\u0662 \u0663\u0660\u0660 \u0661\u0662\u0663\u0664\u0665\u0666\u0667",
]
PIECES = ["", " ", "\n", ".", "x", "x ", "a-", "+", "7", "\u00e9", "sk-", "password ", "tel ", ": ", "(", "0", "-", "@"]


@pytest.mark.parametrize("text", HOLDING)
def test_what_the_scan_finds_is_named_wherever_it_stands(text: str) -> None:
    codes = {code for code, _ in privacy.scan(text)}
    assert codes
    around = ["plain words", text, "more plain words", f"1234567{text}", f"{text}9@8.7", f"so {text} ends"]
    found = screen.suspicious(around)
    assert codes <= found[1] & found[5]
    assert all({code for code, _ in privacy.scan(each)} <= found.get(at, frozenset()) for at, each in enumerate(around))


@example(["AIza" + "b" * 35 + "PWD=abc1234"])
@example(["AIza" + "b" * 35 + "hf_" + "c" * 34])
@given(st.lists(st.lists(st.sampled_from([*HOLDING, *PIECES]), max_size=5).map("".join), max_size=4))
def test_it_names_no_less_than_the_scan_finds(texts: list[str]) -> None:
    found = screen.suspicious(texts)
    assert all({code for code, _ in privacy.scan(text)} <= found.get(at, frozenset()) for at, text in enumerate(texts))


@settings(max_examples=300)
@given(st.lists(st.text(alphabet="0123456789 ().-/+:@aAZtel\u0661", max_size=24), max_size=4))
def test_nor_where_digits_and_signs_are_mixed(texts: list[str]) -> None:
    found = screen.suspicious(texts)
    for at, text in enumerate(texts):
        assert privacy.scan(text, found.get(at, frozenset())) == privacy.scan(text)


def test_plain_text_is_let_through() -> None:
    texts = [
        "Where is my parcel?",
        "It costs $1,500,000.50 in 2026, or 12*14 = 168.",
        "task-based (see 3.2)",
        "",
        "12:30",
    ]
    assert screen.suspicious(texts) == {}
