"""What the scanner finds and what it leaves: the Python definition and the compiled scanner, both."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from metier.corpus.anonymise.kinds import SORTS, STRUCTURED, Code
from metier.corpus.anonymise.literals import secret_literals
from metier.corpus.kernel import compiled, texts
from metier.corpus.kernel.pii import Scanner

Find = Callable[[str], list[tuple[str, str]]]


@pytest.fixture(params=["python", "compiled"])
def find(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Find:
    """Return a function from a text to (kind, value) of all that is found in it."""
    if request.param == "python":
        monkeypatch.setenv("METIER_KERNEL", "python")
    elif compiled("_pii") is None:
        pytest.skip("the compiled kernel is not there")
    scanner = Scanner(secret_literals(), STRUCTURED)

    def found(text: str) -> list[tuple[str, str]]:
        data = text.encode()
        rows = scanner(texts([text])).spans.tolist()
        return [(SORTS[Code(code)].kind, data[start:end].decode()) for _, start, end, code in rows]

    return found


FOUND = [
    ("Mail john.doe@firma.de, please", "email", "john.doe@firma.de"),
    ("schreib müller@bücher.de an", "email", "müller@bücher.de"),
    ("请联系我zhang_wei@163.com谢谢", "email", "zhang_wei@163.com"),
    ("o'brien@mail.example.co.uk.", "email", "o'brien@mail.example.co.uk"),
    ("call (415) 555-0100 today", "phone", "(415) 555-0100"),
    ("415.555.0100", "phone", "415.555.0100"),
    ("1-800-555-0199 x55", "phone", "1-800-555-0199 x55"),
    ("Tel. +49 (0)30 1234567", "phone", "+49 (0)30 1234567"),
    ("0171/1234567", "phone", "0171/1234567"),
    ("(030) 12345678", "phone", "(030) 12345678"),
    ("au 01 42 68 53 00 svp", "phone", "01 42 68 53 00"),
    ("+33 1 42 68 53 00", "phone", "+33 1 42 68 53 00"),
    ("020 7946 0958", "phone", "020 7946 0958"),
    ("+44 7700 900123", "phone", "+44 7700 900123"),
    ("请拨打13812345678联系", "phone", "13812345678"),
    ("+86 138 1234 5678", "phone", "+86 138 1234 5678"),
    ("座机010-88881234", "phone", "010-88881234"),
    ("400-810-8888", "phone", "400-810-8888"),
    ("2024-11-21 138-1234-5678", "phone", "138-1234-5678"),
    ("phone: 4155550100", "phone", "4155550100"),
    ("| Ann | 4155550100 | a@b.de |", "phone", "4155550100"),
    ("from 10.1.2.3 port 22", "ip", "10.1.2.3"),
    ("8.8.8.8 answers", "ip", "8.8.8.8"),
    ("登录IP为203.0.112.7成功", "ip", "203.0.112.7"),
    ("10.0.0.1-10.0.0.9", "ip", "10.0.0.9"),
    ("fe80::1ff:fe23:4567:890a", "ip", "fe80::1ff:fe23:4567:890a"),
    ("[2a02:8108:1:2:3:4:5:6]:443", "ip", "2a02:8108:1:2:3:4:5:6"),
    ("::ffff:198.18.0.1", "ip", "::ffff:198.18.0.1"),
    ("mac:00:1b:22:33:44:56", "mac", "00:1b:22:33:44:56"),
    ("00-1A-2B-3C-4D-5E", "mac", "00-1A-2B-3C-4D-5E"),
    ("001a.2b3c.4d5e", "mac", "001a.2b3c.4d5e"),
    ("Karte 4111 1111 1111 1111 12/27", "card", "4111 1111 1111 1111"),
    ("卡号378282246310005。", "card", "378282246310005"),
    ("IBAN DE89 3704 0044 0532 0130 00,", "iban", "DE89 3704 0044 0532 0130 00"),
    ("GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
    ("SSN 123-45-6789", "id", "123-45-6789"),
    ("SSN 123456789", "id", "123456789"),
    ("Steuer-ID 86 095 742 719", "id", "86 095 742 719"),
    ("Personalausweis: L01X00T471", "id", "L01X00T471"),
    ("NIR 2 55 08 14 168 025 38", "id", "2 55 08 14 168 025 38"),
    ("né en Corse, 195052A00400374", "id", "195052A00400374"),
    ("DNI 12345678Z", "id", "12345678Z"),
    ("NIE X-1234567-L", "id", "X-1234567-L"),
    ("RSSMRA85T10A562S", "id", "RSSMRA85T10A562S"),
    ("AB 12 34 56 C", "id", "AB 12 34 56 C"),
    ("身份证号11010519491231002X已登记", "id", "11010519491231002X"),
    ("护照号码E12345678", "id", "E12345678"),
    ("AKIAIOSFODNN7EXAMPLE", "key", "AKIAIOSFODNN7EXAMPLE"),
    ("密钥AKIAIOSFODNN7EXAMPLE泄露", "key", "AKIAIOSFODNN7EXAMPLE"),
    (f"ghp_{'aB3' * 12}", "key", f"ghp_{'aB3' * 12}"),
    ("glpat-aB3dE6gH9jK2mN5pQ8rS", "key", "glpat-aB3dE6gH9jK2mN5pQ8rS"),
    ("xoxb-12345678901-abcdefghijkl", "key", "xoxb-12345678901-abcdefghijkl"),
    ("sk_live_aB3dE6gH9jK2mN5pQ8rS", "key", "sk_live_aB3dE6gH9jK2mN5pQ8rS"),
    (f"AIza{'aB3-_' * 7}", "key", f"AIza{'aB3-_' * 7}"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3", "key", None),
    ('api_key = "a9f8e7d6c5b4a3f2e1d0c9b8"', "key", "a9f8e7d6c5b4a3f2e1d0c9b8"),
    ("Authorization: Basic dXNlcjpwYXNzd29yZDEy", "key", "dXNlcjpwYXNzd29yZDEy"),
    ("curl -H 'Authorization: Bearer abcDEF123ghiJKL456mno'", "key", "abcDEF123ghiJKL456mno"),
    ("访问令牌：a9f8e7d6c5b4a3f2e1d0c9b8", "key", "a9f8e7d6c5b4a3f2e1d0c9b8"),
    ('password = "hunter2!"', "password", "hunter2!"),
    ("DB_PASSWORD=foo1bar", "password", "foo1bar"),
    ("密码：Abc12345。", "password", "Abc12345"),
    ("口令是Abc12345", "password", "Abc12345"),
    ("Das Passwort lautet: Geheim!23", "password", "Geheim!23"),
    ("**Password:** s3cret99", "password", "s3cret99"),
    ("<password>s3cret99</password>", "password", "s3cret99"),
    ("CREATE USER a WITH PASSWORD 'jw8s0F4'", "password", "jw8s0F4"),
    ("mysql --password s3cret99", "password", "s3cret99"),
    ('{"password": "hunter2x"}', "password", "hunter2x"),
    ('{\\"password\\": \\"hunter2x\\"}', "password", "hunter2x"),
    ("https://bob:s3cr3t@host.corp/x", "credentials", "bob:s3cr3t"),
    ("redis://:s3cr3t@10.1.2.3:6379", "credentials", ":s3cr3t"),
]


@pytest.mark.parametrize(("text", "kind", "value"), FOUND, ids=lambda value: str(value)[:30])
def test_it_is_found_exactly(find: Find, text: str, kind: str, value: str | None) -> None:
    assert (kind, value or text) in find(text)


STAYS = [
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 of 12 files, 1700000000",
    "Version 120.0.6099.109 in release 1.2.3.4, see section 34.5.1.4 and 3.2.1.4.",
    "17179869184 bytes, 2^62 is 4611686018427387904, 文件大小为13958643712字节",
    "ISBN 978-3-16-148410-0, DOI 10.1000/182, 02111-1307, OID 1.3.6.1.4.1.311",
    "password = getpass.getpass(); password: str = None; if password == confirm:",
    "The password is required. Password: at least 8 characters. password_file=/run/secrets/p1",
    "password=${DB_PASS1} password=$PASS1X password=<yours1> password=%PASS1% password=****** password: {pass1}",
    "token_type: bearer, api_key=os.environ['KEY1'], secret: my-own-secret-manager-name",
    "icon@2x.png getty@tty1.service git@github.com:a/b @app.route pkg@1.4.2 root@localhost",
    "127.0.0.1 0.0.0.0 255.255.255.0 192.0.2.1 224.0.0.1 ::1 2001:db8::1 ff02::1",
    "std::vector face::cafe 12:34:56 dead:beef:cafe 00:00:00:00:00:00 ff:ff:ff:ff:ff:ff",
    "0000020 066565 020145 067564\n01 02 03 04 05 06 07\n8b 5d 08 83 3c 01 00 89 44 24",
    "x = 12345678L + 0x7fffffff; pi = 3.14159265358979; 1.234.567,89 EUR; $4155550100",
    "4111111111111112 1234567812345670 123-45-0000 000-12-3456 12345678A 86095742710",
    "110105194912310021 DE88370400440532013000 12 345 678 900 1995-2004 2024-11-21 10.30",
    "Chrome/119.0.0.0 libfoo-1.2.3.40 1.2.3.4-5 1.2.3.4+dfsg 10.2.3.4.5\n10.4.1.2 Write-Ahead Logging",
    "http://user:password@host/ http://${USER}:${PASS}@host/ https://host/@name ssh://git@host.org/x",
    "AKIAIOSFODNN7EXAMPL ghp_short sk-fading-circle-child eyJhbGci desk-lamp",
    "ratio 4155550100.5 id-4155550100 path/13812345678/x user_13812345678_tmp",
]


@pytest.mark.parametrize("text", STAYS, ids=lambda text: str(text)[:30])
def test_it_stays(find: Find, text: str) -> None:
    assert find(text) == []


def test_a_private_key_is_one_block_and_an_example_without_a_key_is_none(find: Find) -> None:
    body = "\n".join("MIIEpAIBAAKCAQEA" * 4 for _ in range(5))
    block = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    assert find(f"cat <<EOF\n{block}\nEOF") == [("key", block)]
    assert find(f"-----BEGIN PRIVATE KEY-----\n{body}\n") == [("key", f"-----BEGIN PRIVATE KEY-----\n{body}\n")]
    assert find("-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----") == []
    assert find("-----BEGIN CERTIFICATE-----\n" + body) == []


def test_of_two_that_overlap_the_better_evidence_stays(find: Find) -> None:
    assert find("DB_PASSWORD=AKIAIOSFODNN7EXAMPLE") == [("key", "AKIAIOSFODNN7EXAMPLE")]
    assert find("https://bob:s3cr3t@host.org") == [("credentials", "bob:s3cr3t")]
    assert find("Tel. 4111 1111 1111 1111") == [("card", "4111 1111 1111 1111")]


def test_spans_are_in_order_and_none_overlaps(find: Find) -> None:
    text = " ".join(text for text, _, _ in FOUND)
    scanner = Scanner(secret_literals(), STRUCTURED)
    rows = scanner(texts([text, text])).spans.tolist()
    for one, other in pairwise(rows):
        assert one[0] < other[0] or one[2] <= other[1]
    assert len(find(text)) * 2 == len(rows)


def test_only_what_was_asked_for_is_found_and_the_rest_does_not_stand_in_its_way() -> None:
    text = "DB_PASSWORD=AKIAIOSFODNN7EXAMPLE and a@b.de"
    only = Scanner(secret_literals(), frozenset((Code.PASSWORD,)))
    assert [tuple(row[1:]) for row in only(texts([text])).spans.tolist()] == [(12, 32, Code.PASSWORD)]
