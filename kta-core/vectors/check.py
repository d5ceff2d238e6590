#!/usr/bin/env python3
"""The written formats of kta-core, made a second time from their documentation alone.

Reads sealing.json beside it, makes every known answer again from its inputs, and exits 1 with the
names of those that differ. It needs Python and nothing else: AES, POLYVAL, AES-GCM-SIV (RFC 8452)
and HKDF (RFC 5869) stand below, slow and readable. The page they follow is FORMAT.md.

    python3 check.py            compare
    python3 check.py --write    write sealing.json anew
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

# ── AES-256-GCM-SIV ──────────────────────────────────────────────────────────────────────────────


def _sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p = p ^ (p << 1) & 0xFF ^ (0x1B if p & 0x80 else 0)
        for shift in (1, 2, 4):
            q ^= q << shift & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        turned = [(q << n | q >> 8 - n) & 0xFF for n in range(5)]
        box[p] = 0x63 ^ turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ turned[4]
        if p == 1:
            box[0] = 0x63
            return box


SBOX = _sbox()
DOUBLE = [n << 1 & 0xFF ^ (0x1B if n & 0x80 else 0) for n in range(256)]
TRIPLE = [DOUBLE[n] ^ n for n in range(256)]
# After SubBytes and ShiftRows, byte i of the state comes from here.
ROWS = [(i + 4 * (i % 4)) % 16 for i in range(16)]


def expanded(key):
    words = [list(key[i : i + 4]) for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 60):
        word = list(words[-1])
        if i % 8 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= constant
            constant = DOUBLE[constant]
        elif i % 8 == 4:
            word = [SBOX[b] for b in word]
        words.append([a ^ b for a, b in zip(words[-8], word)])
    return [sum(words[i : i + 4], []) for i in range(0, 60, 4)]


def aes(rounds, block):
    state = [a ^ b for a, b in zip(block, rounds[0])]
    for key in rounds[1:-1]:
        s = [SBOX[state[i]] for i in ROWS]
        state = []
        for c in range(0, 16, 4):
            a, b, d, e = s[c : c + 4]
            state += [
                DOUBLE[a] ^ TRIPLE[b] ^ d ^ e ^ key[c],
                a ^ DOUBLE[b] ^ TRIPLE[d] ^ e ^ key[c + 1],
                a ^ b ^ DOUBLE[d] ^ TRIPLE[e] ^ key[c + 2],
                TRIPLE[a] ^ b ^ d ^ DOUBLE[e] ^ key[c + 3],
            ]
    return bytes(SBOX[state[i]] ^ k for i, k in zip(ROWS, rounds[-1]))


MODULUS = 1 << 128 | 1 << 127 | 1 << 126 | 1 << 121 | 1
INVERSE = 1 << 127 | 1 << 124 | 1 << 121 | 1 << 114 | 1  # x^-128


def times(a, b):
    product = 0
    while a:
        low = a & -a
        product ^= b * low
        a ^= low
    while product >> 128:
        product ^= MODULUS << product.bit_length() - 129
    return product


def polyval(key, data):
    key = times(int.from_bytes(key, "little"), INVERSE)
    total = 0
    for at in range(0, len(data), 16):
        total = times(total ^ int.from_bytes(data[at : at + 16], "little"), key)
    return total.to_bytes(16, "little")


def gcm_siv(key, nonce, value, associated):
    """Ciphertext and tag."""
    rounds = expanded(key)
    halves = [aes(rounds, struct.pack("<I", n) + nonce)[:8] for n in range(6)]
    authentication, encryption = b"".join(halves[:2]), expanded(b"".join(halves[2:]))
    filled = lambda data: data + bytes(-len(data) % 16)
    lengths = struct.pack("<QQ", len(associated) * 8, len(value) * 8)
    sum_ = polyval(authentication, filled(associated) + filled(value) + lengths)
    mixed = bytearray(a ^ b for a, b in zip(sum_, nonce + bytes(4)))
    mixed[15] &= 0x7F
    tag = aes(encryption, mixed)
    count, rest = struct.unpack("<I", tag[:4])[0], tag[4:15] + bytes([tag[15] | 0x80])
    out = bytearray()
    for at in range(0, len(value), 16):
        stream = aes(encryption, struct.pack("<I", count & 0xFFFFFFFF) + rest)
        out += bytes(a ^ b for a, b in zip(value[at : at + 16], stream))
        count += 1
    return bytes(out) + tag


# ── derivation ───────────────────────────────────────────────────────────────────────────────────


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def expand(prk, *info):  # RFC 5869 section 2.3, one block
    return mac(prk, *info, b"\x01")


def extract(key):  # RFC 5869 section 2.2 without salt
    return mac(bytes(32), key)


def part(data):
    return struct.pack(">Q", len(data)) + data


def record_key(case):
    secret, tenant, subject, record = (unhex(case[k]) for k in ("subject_key", "tenant", "subject", "record"))
    return expand(extract(secret), b"kta1 record", part(tenant), part(subject), part(record))


# ── formats ──────────────────────────────────────────────────────────────────────────────────────


def context(case):
    ids = [unhex(case[k]) for k in ("tenant", "subject")]
    ids += [unhex(case["matter"] or ""), unhex(case["record"]), case["field"].encode()]
    return bytes([1, 1]) + b"".join(map(part, ids)) + struct.pack(">Q", case["revision"])


def padded(value):
    steps = [48, 96, 160, 256, 384, *range(512, 1024, 128), *range(1024, 2048, 256), *range(2048, 4097, 512)]
    size = next((s for s in steps if s > len(value)), (len(value) // 4096 + 1) * 4096)
    return value + b"\x80" + bytes(size - len(value) - 1)


def start(prk, suite, label, generation, drawn, salt):
    """Bytes before the ciphertext, and the key."""
    commitment = expand(prk, b"kta1 " + label + b" commitment", salt)
    head = bytes([1, suite]) + struct.pack(">I", generation) + drawn + commitment
    return head, expand(prk, b"kta1 " + label + b" key", salt)


def sealed(prk, label, generation, nonce, associated, value):
    head, key = start(prk, 1, label, generation, nonce, b"")
    return head + gcm_siv(key, nonce, value, associated + struct.pack(">I", generation))


def envelope(case):
    nonce, value = unhex(case["nonce"]), padded(value_of(case))
    return sealed(record_key(case), b"field", case["generation"], nonce, context(case), value)


def length(number):  # LEB128
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + length(rest) if rest else bytes([low])


def group(case):
    values = map(unhex, case["values"])
    return envelope(case | {"value": b"".join(length(len(v)) + v for v in values).hex()})


def content(case):
    salt, value, generation = unhex(case["salt"]), value_of(case), case["generation"]
    stored, key = start(record_key(case), 2, b"content", generation, salt, salt)
    associated = context(case) + struct.pack(">I", generation)
    many = max(1, -(-len(value) // 65536))
    for number in range(many):
        segment = value[number * 65536 : (number + 1) * 65536]
        nonce = salt[-7:] + struct.pack(">I", number) + bytes([number == many - 1])
        stored += gcm_siv(key, nonce, segment, associated)
    return stored


def header(case):
    first = bytes([1, 2]) + struct.pack(">I", case["generation"])
    listed = struct.pack(">QI", case["record_revision"], len(case["fields"]))
    for field in sorted(case["fields"], key=lambda field: field["field"].encode()):
        name = field["field"].encode()
        listed += struct.pack(">H", len(name)) + name
        listed += struct.pack(">QH", field["revision"], field["classification"]) + unhex(field["tag"])
    place = (part(unhex(case[k])) for k in ("tenant", "subject", "record"))
    return first + mac(expand(record_key(case), b"kta1 header"), *place, first, listed)


def wrapped(case):
    key, nonce = extract(unhex(case["key"])), unhex(case["nonce"])
    return sealed(key, b"wrap", 0, nonce, unhex(case["context"]), unhex(case["secret"]))


def fingerprint(case):
    return expand(extract(unhex(case["subject_key"])), b"kta1 key fingerprint")


def field_key(case, label):
    info = label + part(unhex(case["tenant"])) + part(case["field"].encode())
    return expand(extract(unhex(case["key"])), info)


def index(case):
    bits, tag = case["bits"], mac(field_key(case, b"kta1 index field"), case["normal"].encode())
    cut = bytearray(tag[: (bits + 7) // 8])
    if bits % 8:
        cut[-1] &= 0xFF << 8 - bits % 8 & 0xFF
    return struct.pack(">IB", case["epoch"], bits) + bytes(cut)


def mark(case):
    return mac(field_key(case, b"kta1 suppression mark"), case["normal"].encode())


MAKERS = {
    "content": content,
    "envelope": envelope,
    "fingerprint": fingerprint,
    "group": group,
    "header": header,
    "index": index,
    "mark": mark,
    "wrapped": wrapped,
}

# ── the file ─────────────────────────────────────────────────────────────────────────────────────


def unhex(text):
    return bytes.fromhex(text)


def value_of(case):
    """The value in hex, or `length` times one byte."""
    return unhex(case["value"]) * case.get("times", 1)


def answer(made):
    """What is written down of long answers: their length and digest."""
    if len(made) <= 1024:
        return {"written": made.hex()}
    return {"written_length": len(made), "written_sha256": hashlib.sha256(made).hexdigest()}


def counted(seed, length=12):
    """Nonces and salts that look random and are not."""
    return hashlib.sha256(struct.pack(">QQ", seed, 0)).digest()[:length].hex()


def cases():
    ids = {k: bytes([n]).hex() * 16 for k, n in (("tenant", 1), ("subject", 2), ("matter", 3), ("record", 4))}
    person = ids | {"subject_key": "42" * 32, "generation": 1}
    field = person | {"field": "passport.number", "revision": 5}
    listed = {k: v for k, v in person.items() if k != "matter"}

    def made(format_, name, case):
        return {"format": format_, "name": name} | case | answer(MAKERS[format_](case))

    def with_tag(case):
        listed = {"field": case["field"], "revision": case["revision"], "classification": 0x504}
        return listed | {"tag": envelope(case)[-16:].hex()}

    name = field | {"field": "name", "revision": 1, "value": b"Testa".hex(), "nonce": counted(519)}
    born = name | {"field": "born", "revision": 2, "value": b"1978".hex(), "nonce": counted(520)}
    yield made("envelope", "an empty value", field | {"value": "", "nonce": counted(7)})
    yield made("envelope", "a short value", field | {"value": b"L898902C3".hex(), "nonce": counted(7)})
    yield made("envelope", "a value of another bucket", field | {"value": "5a", "times": 100, "nonce": counted(7)})
    yield made("envelope", "a value longer than every bucket", field | {"value": "5a", "times": 5000, "nonce": counted(8)})
    yield made("envelope", "a value that ends like padding", field | {"value": "8000", "nonce": counted(9)})
    yield made("envelope", "no matter, another generation", field | {"matter": None, "generation": 7, "value": "ff", "nonce": counted(10)})
    yield made("envelope", "a value of the step after 256", field | {"value": "5a", "times": 300, "nonce": counted(17)})
    yield made("envelope", "a value of the last step before 1024", field | {"value": "5a", "times": 896, "nonce": counted(18)})
    yield made("envelope", "a value of the last step of all", field | {"value": "5a", "times": 4000, "nonce": counted(19)})
    two = field | {"field": "birth_date+email", "nonce": counted(20)}
    yield made("group", "two fields", two | {"values": [b"1978-03-08".hex(), b"testa@example.org".hex()]})
    yield made("group", "three fields, one empty, one long", two | {"field": "a+b+c", "values": ["", "5a" * 300, "8000"]})
    yield made("header", "a record without fields", listed | {"record_revision": 1, "fields": []})
    yield made("header", "a record of two fields", listed | {"record_revision": 3, "fields": [with_tag(born), with_tag(name)]})
    many = two | {"values": [b"1978-03-08".hex(), b"testa@example.org".hex()]}
    grouped = {"field": two["field"], "revision": 5, "classification": 0x500, "tag": group(many)[-16:].hex()}
    yield made("header", "a record of a field and a group", listed | {"record_revision": 5, "fields": [with_tag(name), grouped]})
    yield made("content", "empty content", field | {"value": "", "salt": counted(11, 24)})
    yield made("content", "content of one segment", field | {"value": b"%PDF-1.7 invented".hex(), "salt": counted(12, 24)})
    yield made("content", "content of exactly one segment", field | {"value": "5a", "times": 65536, "salt": counted(13, 24)})
    yield made("content", "content of two segments", field | {"value": "5a", "times": 65537, "salt": counted(14, 24)})
    contexts = {
        "a custodian's context": b"context",
        "an epoch key": part(b"kta1 epoch") + part(unhex(ids["tenant"])) + struct.pack(">Q", 3),
        "a branch key": part(b"kta1 branch") + part(unhex(ids["tenant"])) + struct.pack(">BIQ", 2, 9, 3),
        "an index key": part(b"kta1 index") + part(unhex(ids["tenant"])) + struct.pack(">I", 1),
        "a person's key": part(b"kta1 subject") + part(unhex(ids["tenant"])) + part(unhex(ids["subject"]))
        + struct.pack(">II", 17, 1) + fingerprint(person),
    }
    for seed, (name_, bound) in enumerate(contexts.items(), 2):
        case = {"key": "01" * 32, "secret": "02" * 32, "context": bound.hex(), "nonce": counted(seed)}
        yield made("wrapped", name_, case)
    yield made("fingerprint", "a person's key", {k: person[k] for k in ("tenant", "subject", "generation", "subject_key")})
    entry = {"key": "07" * 32, "tenant": ids["tenant"], "field": "email", "normal": "testa@example.org"}
    yield made("index", "fourteen bits", entry | {"epoch": 3, "bits": 14})
    yield made("index", "sixteen bits", entry | {"epoch": 3, "bits": 16})
    yield made("mark", "a whole MAC", entry)

    short = field | {"value": b"L898902C3".hex(), "nonce": counted(7)}
    right = envelope(short)
    other = envelope(short | {"nonce": counted(15)})
    stranger = envelope(short | {"subject": "09" * 16})
    flaws = {
        "an unknown version": ("CRY-KEY", b"\x02" + right[1:]),
        "an unknown suite": ("CRY-KEY", right[:1] + b"\x02" + right[2:]),
        "another generation": ("CRY-KEY", right[:5] + b"\x02" + right[6:]),
        "another nonce": ("CRY-SWAP", right[:6] + other[6:18] + right[18:]),
        "another commitment": ("CRY-SWAP", right[:18] + stranger[18:50] + right[50:]),
        "a changed ciphertext": ("CRY-SWAP", right[:50] + bytes([right[50] ^ 1]) + right[51:]),
        "a changed tag": ("CRY-SWAP", right[:-1] + bytes([right[-1] ^ 0x80])),
        "a missing byte": ("CRY-SWAP", right[:-1]),
        "a byte too many": ("CRY-SWAP", right + b"\x00"),
        "a head alone": ("CRY-SWAP", right[:50]),
        "nothing": ("CRY-SWAP", b""),
        "padding without its mark": ("CRY-SWAP", sealed(record_key(field), b"field", 1, unhex(counted(16)), context(field), bytes(48))),
        "a value of another field": ("CRY-SWAP", envelope(short | {"field": "passport.numbe"})),
        "a value of an older revision": ("CRY-SWAP", envelope(short | {"revision": 4})),
        "a value of another person": ("CRY-SWAP", envelope(short | {"subject": "09" * 16})),
    }
    few = two | {"values": [b"1978".hex(), b"testa".hex()]}
    joined = {
        "a group of other fields": group(few | {"field": "birth_date+phone"}),
        "a group of one field more": group(few | {"values": [*few["values"], ""]}),
        "a group of one field less": group(few | {"values": few["values"][:1]}),
        "a group with a byte too many": envelope(few | {"value": "0131" "0132" "00"}),
        "a length that is not the shortest": envelope(few | {"value": "810031" "0132"}),
        "a length beyond the end": envelope(few | {"value": "0131" "0232"}),
    }
    for name_, bytes_ in joined.items():
        yield {"format": "group", "name": name_} | two | {"values": ["", ""], "refused": "CRY-SWAP", "written": bytes_.hex()}
    for name_, (code, bytes_) in flaws.items():
        yield {"format": "envelope", "name": name_} | field | {"refused": code, "written": bytes_.hex()}


def main():
    known = (  # RFC 8452 appendix C.2
        gcm_siv(b"\x01" + bytes(31), b"\x03" + bytes(11), b"", b"").hex() == "07f5f4169bbf55a8400cd47ea6fd400f"
    )
    if not known:
        print("this script does not know AES-GCM-SIV")
        return 1
    path = pathlib.Path(__file__).with_name("sealing.json")
    if "--write" in sys.argv:
        about = "Known answers of the formats in FORMAT.md. Bytes are in hex, numbers are numbers."
        document = {"about": about, "version": 1, "cases": list(cases())}
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    agreed = refused = 0
    for case in json.loads(path.read_text())["cases"]:
        if "refused" in case:
            refused += 1
            continue
        written = {k: v for k, v in case.items() if k.startswith("written")}
        if answer(MAKERS[case["format"]](case)) != written:
            print(f"{case['format']}: {case['name']}: differs")
            return 1
        agreed += 1
    print(f"{agreed} known answers agree; {refused} more are to be refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
