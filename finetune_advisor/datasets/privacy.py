"""Personal data and secrets that should not be trained on, found by their form and, where there is one, their checksum.

What has no form of its own (names, addresses, medical facts) is not found. Every excerpt is masked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal

_CARD = re.compile(r"4\d{15}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|(?:6011|65\d\d|35\d\d)\d{12}|3[068]\d{12}")
_RESERVED_MAIL = re.compile(
    r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|example|invalid|test|localhost)$", re.IGNORECASE
)
_PLACEHOLDER = ("http://", "https://", "<", "{", "$", "*", "[")


def scan(text: str, codes: Collection[str] | None = None) -> list[tuple[str, str]]:
    """Find personal data and secrets.

    Args:
        text: Any text.
        codes: What may be found; None for everything.

    Returns:
        For each find its code (``secret_...`` or ``personal_...``) and a masked excerpt: at most four characters
        and a quarter of the whole, with its length.
    """
    found: list[tuple[str, str]] = []
    rest = text if text.isascii() else re.sub(r"\d", _ascii_digit, text)
    for kind in _KINDS:
        if codes is None or kind.code in codes:
            rest = kind.pattern.sub(partial(_blank, kind, found), rest)
    return found


def severity(code: str) -> Literal["error", "warning"]:
    """How bad a find is: a secret is an error, personal data a warning."""
    return "error" if code.startswith("secret_") else "warning"


def describe(code: str) -> str:
    """A code in words, for example ``an e-mail address``."""
    return next(kind.words for kind in _KINDS if kind.code == code)


@dataclass(frozen=True, kw_only=True)
class _Kind:
    code: str
    words: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool]


def _blank(kind: _Kind, found: list[tuple[str, str]], match: re.Match[str]) -> str:
    """Note a find and blank it out, so that no later kind reports it a second time.

    Where it begins or ends in a letter or digit, `_` stays: what is next to it does not become a word by itself.
    """
    if not kind.check(match[0]):
        return match[0]
    found.append((kind.code, _masked(match[0])))
    first, last = ("_" if edge.isalnum() or edge == "_" else " " for edge in (match[0][0], match[0][-1]))
    return first + " " * (len(match[0]) - 2) + last


def _masked(value: str) -> str:
    return f"{value[: min(4, len(value) // 4)]}… ({len(value)} characters)"


def _ascii_digit(match: re.Match[str]) -> str:
    return str(int(match[0]))


def _any(value: str) -> bool:
    return True


def _digits(value: str) -> str:
    return re.sub(r"\D", "", value)


def _mixed(value: str) -> bool:
    """Keys are random: a hyphenated phrase that starts like one has no digits or no capitals."""
    return bool(re.search(r"\d", value) and re.search(r"[A-Z]", value))


def _password(assignment: str) -> bool:
    value = re.split(r"[:=\s]\s*", assignment)[-1].strip("\"'`.,;!?)")
    return len(value) >= 6 and bool(re.search(r"\d", value)) and not value.startswith(_PLACEHOLDER)


def _email(value: str) -> bool:
    return not _RESERVED_MAIL.search(value)


def _luhn(value: str) -> bool:
    """Luhn's checksum (ISO/IEC 7812-1), on numbers that begin as the large card networks' do."""
    digits = _digits(value)
    if not _CARD.fullmatch(digits):
        return False
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def _iban(value: str) -> bool:
    """Remainder 97 of ISO 13616; a word that follows in capitals may have been caught with it."""
    words = value.split(" ")
    return any(_iban_valid("".join(words[:count])) for count in range(len(words), 0, -1))


def _iban_valid(value: str) -> bool:
    turned = value[4:] + value[:4]
    return 15 <= len(value) <= 34 and int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


def _public_address(value: str) -> bool:
    """Whether it is an address in public use; private, reserved and documentation addresses belong to nobody."""
    try:
        return len(value) > 7 and ipaddress.ip_address(value).is_global
    except ValueError:
        return False


def _phone(value: str) -> bool:
    return 7 <= len(_digits(value)) <= 15


def _kind(code: str, words: str, pattern: str, check: Callable[[str], bool] = _any) -> _Kind:
    return _Kind(code=code, words=words, pattern=re.compile(pattern), check=check)


_KINDS = (
    _kind("secret_private_key", "a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    _kind("secret_jwt", "a JSON web token", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    _kind("secret_openai_key", "an API key (sk-...)", r"\bsk-[\w-]{20,}", _mixed),
    _kind("secret_aws_key", "an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    _kind("secret_github_token", "a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,})"),
    _kind("secret_google_key", "a Google API key", r"\bAIza[\w-]{35}"),
    _kind("secret_slack_token", "a Slack token", r"\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
    _kind("secret_huggingface_token", "a Hugging Face token", r"\bhf_[A-Za-z0-9]{30,}"),
    _kind(
        "secret_password",
        "a password",
        r"(?i)\b(?:password|passwort|passwd|pwd|secret|api[_ -]?key|access[_ -]?token)[\"']?"
        r"\s*(?:[:=]|\bis\b)\s*\S{6,}",
        _password,
    ),
    _kind(
        "personal_email",
        "an e-mail address",
        r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b",
        _email,
    ),
    _kind(
        "personal_iban",
        "a bank account number (IBAN)",
        r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        _iban,
    ),
    _kind("personal_card", "a payment card number", r"(?<![\w-])\d(?:[ -]?\d){13,15}(?![\w-])", _luhn),
    _kind(
        "personal_ssn",
        "a US social security number",
        r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])",
    ),
    _kind(
        "personal_ip_address",
        "an IP address",
        r"(?<![\w.:])(?<!ersion )(?<!elease )(?<!uild )(?<!ection )"
        r"(?:\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:]))",
        _public_address,
    ),
    _kind("personal_phone", "a phone number", r"(?<![\w+])\+\d(?:[ ().-]{0,2}\d){7,14}(?!\w)", _phone),
    _kind(
        "personal_phone",
        "a phone number",
        r"(?<![\w.-])(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[.-]\d{4}(?![\w-])"
        r"|(?<![\w.,-])(?<!\d )0(?:\d{2,4}[ /-]\d{5,8}|\d{1,4} \d{3,4} \d{3,4}|\d(?:[ .]\d\d){4})(?![\w-])",
        _phone,
    ),
    _kind(
        "personal_phone",
        "a phone number",
        r"(?i)\b(?:phone|tel|telephone|mobile|cell|fax|whatsapp)(?: number| no)?\.?(?: is)?"
        r"[: ]{1,2}\d(?:[ -]?\d){6,14}(?!\w)",
        _phone,
    ),
)

CODES = tuple(dict.fromkeys(kind.code for kind in _KINDS))
"""All codes that `scan` may find."""
