#!/usr/bin/env python3
"""Known answers of the written formats, made a second time from their documentation alone.

AES-GCM-SIV is OpenSSL's, through the Python package `cryptography`; HKDF and HMAC are the
standard library's. Prints what differs from the files beside it and exits 1, or says that
nothing does; with --write it writes the files.

    python3 make.py [--write]
"""

import hashlib
import hmac
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def expand(prk, *info):  # RFC 5869 section 2.3, one block
    return mac(prk, *info, b"\x01")


def extract(key):  # RFC 5869 section 2.2 without salt
    return mac(bytes(32), key)


def part(data):
    return struct.pack(">Q", len(data)) + data


def counted(seed):
    """The tests' repeatable randomness: SHA-256 over a seed and a counter, 32 bytes a draw."""
    drawn = 0
    while True:
        yield hashlib.sha256(struct.pack(">QQ", seed, drawn)).digest()
        drawn += 1


def context(field=b"passport.number", revision=5):
    ids = (bytes([number]) * 16 for number in (1, 2, 3, 4))
    return (
        bytes([1, 1])
        + b"".join(part(one) for one in ids)
        + part(field)
        + struct.pack(">Q", revision)
    )


def sealed(prk, label, generation, associated, value, seed):
    salt = next(counted(seed))[:24]
    key = expand(prk, b"kta1 " + label + b" key", salt)
    commitment = expand(prk, b"kta1 " + label + b" commitment", salt)
    count = struct.pack(">I", generation)
    body = AESGCMSIV(key).encrypt(salt[-12:], value, associated + count)
    return bytes([1, 1]) + count + salt + commitment + body


def padded(value):
    buckets = [48, 96, 160, 256, 512, 1024, 2048, 4096]
    size = next((b for b in buckets if b > len(value)), (len(value) // 4096 + 1) * 4096)
    return value + b"\x80" + bytes(size - len(value) - 1)


TENANT, SUBJECT, RECORD = (bytes([number]) * 16 for number in (1, 2, 4))
SUBJECT_PRK = extract(b"\x42" * 32)
RECORD_KEY = expand(SUBJECT_PRK, b"kta1 record", part(TENANT), part(SUBJECT), part(RECORD))


def field(value, seed, **place):
    return sealed(RECORD_KEY, b"field", 1, context(**place), padded(value), seed)


def header():
    value = b"Testa"
    tag = field(value, sum(value) + 1, field=b"name", revision=1)[-16:]
    listed = bytes([1, 1]) + struct.pack(">IQI", 1, 3, 1)
    listed += struct.pack(">H", 4) + b"name" + struct.pack(">Q", 1) + tag
    key = expand(RECORD_KEY, b"kta1 header")
    return listed + mac(key, part(TENANT), part(SUBJECT), part(RECORD), listed)


def content(value, seed):
    salt = next(counted(seed))[:24]
    key = expand(RECORD_KEY, b"kta1 content key", salt)
    commitment = expand(RECORD_KEY, b"kta1 content commitment", salt)
    nonce = salt[-7:] + struct.pack(">I", 0) + b"\x01"
    associated = context() + struct.pack(">I", 1)
    start = bytes([1, 2]) + struct.pack(">I", 1) + salt + commitment
    return start + AESGCMSIV(key).encrypt(nonce, value, associated)


def index():
    info = b"kta1 index field" + part(TENANT) + part(b"email")
    tag = mac(expand(extract(b"\x07" * 32), info), b"testa@example.org")
    return struct.pack(">IB", 3, 14) + bytes([tag[0], tag[1] & 0b1111_1100])


def mark():
    info = b"kta1 suppression mark" + part(TENANT) + part(b"email")
    return mac(expand(extract(b"\x07" * 32), info), b"testa@example.org")


FILES = {
    "envelope-empty": field(b"", 7),
    "envelope-short": field(b"L898902C3", 7),
    "envelope-100": field(b"\x5a" * 100, 7),
    "header": header(),
    "content": content(b"%PDF-1.7 invented", 12),
    "wrap": sealed(extract(b"\x01" * 32), b"wrap", 0, b"context", b"\x02" * 32, 2),
    "index": index(),
    "mark": mark(),
}


def main():
    here = pathlib.Path(__file__).parent
    differ = 0
    for name, data in FILES.items():
        path = here / f"{name}.hex"
        if "--write" in sys.argv:
            path.write_text(data.hex() + "\n")
        elif path.read_text().strip() != data.hex():
            differ += 1
            print(f"{path.name} differs")
    if not differ:
        print(f"{len(FILES)} known answers agree")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
