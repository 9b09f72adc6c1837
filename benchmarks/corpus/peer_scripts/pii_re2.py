"""re2 on texts: `pii_re2.py TEXTS.arrow SECONDS`. One alternation of the same kinds, every match with what it is.

Prints the bytes gone through and the best CPU seconds as JSON. Matches are counted with their validators (Luhn, check
digits), as far as those decide: the work that both have to do.
"""

import json
import sys
import time

import pyarrow as pa
import re2

PATTERNS = {
    "email": r"[A-Za-z0-9_][A-Za-z0-9._%+'-]{0,63}@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}",
    "credentials": r"[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]+@",
    "phone": r"\+[1-9][0-9]{0,2}[ ./()-]{0,3}(?:\(0\))?(?:[0-9][ ./()-]{0,2}){6,12}[0-9]"
    r"|\b(?:1[ .-])?\(?[2-9][0-9]{2}\)?[ .-]?[2-9][0-9]{2}[ .-][0-9]{4}\b|\b0[1-9](?:[ .-][0-9]{2}){4}\b"
    r"|\(?0[1-9][0-9]{1,4}\)?[ /-][0-9][0-9 -]{4,9}[0-9]|\b1[3-9][0-9]{9}\b|\b1[3-9][0-9]-[0-9]{4}-[0-9]{4}\b",
    "ip": r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b|(?:[0-9a-fA-F]{1,4}:){2,7}[0-9a-fA-F:]{0,4}[0-9a-fA-F]",
    "mac": r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b",
    "card": r"\b(?:[0-9]{4}[ -]?){3}[0-9]{1,7}\b|\b3[47][0-9]{13}\b",
    "iban": r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
    "ssn": r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
    "tax": r"\b[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}\b",
    "nir": r"\b[12] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b",
    "resident": r"[1-9][0-9]{5}(?:19|20)[0-9]{9}[0-9Xx]",
    "nino": r"\b[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b",
    "fiscale": r"\b[A-Z]{6}[0-9]{2}[A-Z][0-9]{2}[A-Z][0-9]{3}[A-Z]\b",
    "dni": r"\b(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-Z]\b",
    "key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}|\bgh[pousr]_[A-Za-z0-9]{36}|\bglpat-[A-Za-z0-9_-]{20}"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|\bAIza[0-9A-Za-z_-]{35}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:api[_-]?key|secret|token|密钥|令牌)[\"']?\s*[:=：]\s*[\"']?[A-Za-z0-9+/=_-]{16,}",
    "password": r"(?i:passwor[dt]|passwd|pwd|kennwort|mot de passe|密码|口令)[\"']?\s*(?:[:=：]|is |lautet:?|是|为)"
    r"\s*[\"']?[^\s\"'，。]{5,}",
}


def luhn(text: str) -> bool:
    """Return whether the digits have a Luhn check digit."""
    digits = [int(character) for character in text if character.isdigit()]
    odd = digits[-2::-2]
    return (sum(digits) - sum(odd) + sum(2 * digit - 9 * (digit > 4) for digit in odd)) % 10 == 0


def main(path: str) -> None:
    """Extract everything from all texts of an Arrow file, three times."""
    with pa.OSFile(path) as source:
        texts = pa.ipc.open_file(source).read_all().column("text").to_pylist()
    data = [text.encode() for text in texts]
    options = re2.Options()
    options.max_mem = 1 << 28
    pattern = re2.compile("|".join(f"(?P<{name}>{source})" for name, source in PATTERNS.items()).encode(), options)
    names = {number: name for name, number in pattern.groupindex.items()}
    best, found = float("inf"), 0
    for _ in range(3):
        start, found = time.process_time(), 0
        for text in data:
            for match in pattern.finditer(text):
                if names[match.lastindex] != "card" or luhn(match.group().decode()):
                    found += 1
        best = min(best, time.process_time() - start)
    print(json.dumps({"seconds": best, "bytes": sum(map(len, data)), "found": found}))


if __name__ == "__main__":
    main(sys.argv[1])
