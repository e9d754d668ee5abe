"""What is private, what only looks like it, and that no excerpt gives it away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.datasets import privacy

FORTY = "a1B2c3D4e5F6g7H8i9J0" * 2

PRIVATE = [
    ("Write to jane.doe+shop@mail.acme.co.uk, please.", "personal_email", "jane.doe+shop@mail.acme.co.uk"),
    ("Call me: +49 30 901820-12", "personal_phone", "+49 30 901820-12"),
    ("My number is (415) 555-2671.", "personal_phone", "(415) 555-2671"),
    ("It is 415-555-2671", "personal_phone", "415-555-2671"),
    ("Reach me on 0300-1234567", "personal_phone", "0300-1234567"),
    ("Ring 020 7946 0958 after six", "personal_phone", "020 7946 0958"),
    ("Appelez le 06 12 34 56 78", "personal_phone", "06 12 34 56 78"),
    ("Phone: 8005551234", "personal_phone", "8005551234"),
    ("میرا نمبر +٩٢ ٣٠٠ ١٢٣٤٥٦٧ ہے", "personal_phone", "300"),
    ("IBAN DE89 3704 0044 0532 0130 00 AND THEN", "personal_iban", "3704 0044"),
    ("pay GB82WEST12345698765432", "personal_iban", "GB82WEST12345698765432"),
    ("card 4111 1111 1111 1111, exp 12/27", "personal_card", "4111 1111 1111 1111"),
    ("card 5555-5555-5555-4444", "personal_card", "5555-5555-5555-4444"),
    ("Amex 378282246310005", "personal_card", "378282246310005"),
    ("SSN 536-90-4399", "personal_ssn", "536-90-4399"),
    ("I was logged in from 93.184.216.34 yesterday", "personal_ip_address", "93.184.216.34"),
    ("from 2606:2800:220:1:248:1893:25c8:1946", "personal_ip_address", "2606:2800"),
    (f"key sk-proj-{FORTY}", "secret_openai_key", FORTY),
    ("AKIAIOSFODNN7EXAMPLE", "secret_aws_key", "IOSFODNN7"),
    (f"token ghp_{FORTY}", "secret_github_token", FORTY),
    (f"AIza{FORTY[:35]}", "secret_google_key", FORTY[:35]),
    ("xoxb-123456789012-abcdefABCDEF", "secret_slack_token", "123456789012"),
    (f"hf_{FORTY}", "secret_huggingface_token", FORTY),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "secret_private_key", "RSA PRIVATE"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN", "secret_jwt", "dozjgNryP4J3jVmN"),
    ("The password is Hunter2024!", "secret_password", "Hunter2024"),
    ('{"api_key": "q7w8e9r0t1"}', "secret_password", "q7w8e9r0t1"),
]


@pytest.mark.parametrize(("text", "code", "value"), PRIVATE)
def test_it_is_found_once_and_masked(text: str, code: str, value: str) -> None:
    found = privacy.scan(text)
    assert [each for each, _ in found] == [code]
    assert value not in found[0][1]
    assert privacy.severity(code) == ("error" if code.startswith("secret_") else "warning")
    assert privacy.describe(code)


@pytest.mark.parametrize(
    "text",
    [
        "Order 4711-0815 from 2024-11-22, invoice INV-2024-00123, total €1,299.00",
        "Order 112-3456789-1234567 and parcel 1Z999AA10123456784",
        "Error E17 on firmware v2.10.3.1, build 10.0.19041.1, version 1.22.33.44",
        "Open 10:30-12:45, room 0.15, ratio 16:9, 22.11.2024, +10% more",
        "My account is 1234567890123456 and the case is 9988776655",
        "Card ending 4242; card 4111 1111 1111 1112 is mistyped",
        "IBAN DE89 3704 0044 0532 0130 01 is mistyped",
        "The router is at 192.168.178.1 or fe80::1 or 127.0.0.1",
        "ISBN 978-3-16-148410-0, 100-200-3000 steps, 000-12-3456",
        "My password is incorrect. Password: forgotten! password = <your password>",
        "I forgot my password, please reset it to something with 8 characters",
        "Write to support@example.com or help@shop.test",
        "sk-learn-based-classification-pipelines are fun; std::vector<int>; 5:30",
        "الطلب رقم ٤٧١١٠٨١٥ بتاريخ ٢٠٢٤-١١-٢٢",
        "订单号20241122001，价格199元",
        "At 3pm @home, see a@b, C++ 17, -5 to +35 °C",
        "",
    ],
)
def test_everyday_numbers_are_left_alone(text: str) -> None:
    assert privacy.scan(text) == []


@given(st.text(alphabet="ab1@.+-:/ =4٣(", max_size=200))
def test_any_text_can_be_scanned(text: str) -> None:
    for code, excerpt in privacy.scan(text):
        assert code.startswith(("personal_", "secret_"))
        assert len(excerpt.split("…")[0]) <= 4


@pytest.mark.parametrize(
    "run", ["a" * 50_000, "1" * 50_000, "a." * 25_000, "1-" * 25_000, "a-1" * 20_000, "AB12 " * 9000]
)
def test_a_find_after_an_endless_run_is_still_made(run: str) -> None:
    assert ("personal_email", "jan… (13 characters)") in privacy.scan(f"{run} jane@acme.org")
