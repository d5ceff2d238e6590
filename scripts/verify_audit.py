#!/usr/bin/env python3
"""Checks an export of the audit log, independently of the software that wrote it.

    python3 verify_audit.py FOLDER [--key VERIFIER-KEY]        (Python 3.8 or newer, no library)
The first thing that is wrong is printed, and the exit code is 1. The steps:
  1. the signature under the list of files (FOLDER/manifest), by the verifier key;
  2. size and SHA-256 of every listed file, and that no other file is there;
  3. each certificate: its proof's entry names its SHA-256 and leads to a signed checkpoint;
  4. the log: every entry in its one written form, numbered without gaps, never going back in
     time; the hashes of all entries are those in the tiles and lead to the signed root; the
     log holds the entry of each proof and begins as the proof's checkpoint says.
Without --key the key in the folder (audit.vkey) is used: that proves the folder whole. Whose it
is, only a key that came by another way can tell: compare it with the one printed.
Formats: RFC 8032, RFC 9162 section 2.1; C2SP signed-note, tlog-checkpoint, -tiles and -proof.
"""
import base64, hashlib, json, os, re, sys
class Fault(Exception): pass

def check(holds, fault):
    if not holds:
        raise Fault(fault)
# --- Ed25519, RFC 8032 section 5.1: verification only ---------------------------------------
P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P

def point(encoded):
    """A point in extended coordinates from its 32 bytes, or None."""
    sign, y = encoded[31] >> 7, int.from_bytes(encoded, "little") & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)
def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)
def times(number, p):
    total = (0, 1, 1, 0)
    while number:
        total = add(total, p) if number & 1 else total
        p, number = add(p, p), number >> 1
    return total
def same(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0

def signed_by(public, message, signature):
    base = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    a, r, s = point(public), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER or same(times(8, a), (0, 1, 1, 0)):
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little")
    return same(times(s, base), add(r, times(k % ORDER, a)))

# --- Keys, signed notes, checkpoints --------------------------------------------------------
def unbase64(text, fault):
    """Standard base64 in its one form."""
    check(len(text) % 4 == 0 and re.fullmatch("[A-Za-z0-9+/]*=?=?", text), fault)
    content = base64.b64decode(text)
    check(base64.b64encode(content).decode() == text, fault)
    return content
def decimal(text, fault):
    check(re.fullmatch("0|[1-9][0-9]{0,19}", text), fault)
    return int(text)

class Key:
    def __init__(self, text):
        self.name, key_id, material = (text.split("+", 2) + ["", ""])[:3]
        material = unbase64(material, "the verifier key is malformed")
        self.id = hashlib.sha256(self.name.encode() + b"\n" + material).digest()[:4]
        check(len(material) == 33 and material[0] == 1 and self.name and key_id == self.id.hex(),
              "the verifier key is malformed")
        self.public = material[1:]

def note(content, key, where, alone):
    """The lines of a note that the key signed; beside it, cosignatures may stand or nothing."""
    text, cut, lines = content.decode("utf-8", "replace").rpartition("\n\n")
    check(cut and lines.endswith("\n") and not re.search("[\0-\x09\x0b-\x1f]", text + lines),
          where + " is not a signed note")
    own = 0
    for line in lines[:-1].split("\n"):
        fields = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
        check(fields, where + ": a signature line is malformed")
        signature = unbase64(fields[2], where + ": a signature line is malformed")
        if (fields[1], signature[:4]) == (key.name, key.id):
            own, signature, signed = own + 1, signature[4:], (text + "\n").encode()
            check(len(signature) == 64 and signed_by(key.public, signed, signature),
                  where + ": the signature is not valid")
        else:
            check(not alone and fields[1] != key.name and len(signature) == 76,
                  where + ": a signature by an unknown key")
    check(own == 1, where + " is not signed by the expected key")
    check(text.split("\n")[0] == key.name, where + " is that of another log")
    return text.split("\n")

def checkpoint(content, key, where):
    """Size and root of a signed checkpoint."""
    lines = note(content, key, where, alone=False)
    check(len(lines) == 3, where + " has not three lines")
    root = unbase64(lines[2], where + ": the root is malformed")
    return decimal(lines[1], where + ": the size is malformed"), root

# --- The Merkle tree ------------------------------------------------------------------------
def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()
def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()

def root_of(hashes):
    """The root over these hashes. They go up in pairs; an odd last one waits for the next."""
    while len(hashes) > 1:
        odd = hashes[len(hashes) & ~1:]
        hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2])] + odd
    return hashes[0] if hashes else hashlib.sha256().digest()

def root_by(proof, leaf, index, size):
    """The root that an inclusion proof leads to, from the leaf at this index."""
    check(bool(proof) == (size > 1), "the inclusion proof has the wrong length")
    if not proof:
        return leaf
    left = 1 << (size - 1).bit_length() - 1
    if index < left:
        return node_hash(root_by(proof[:-1], leaf, index, left), proof[-1])
    return node_hash(proof[-1], root_by(proof[:-1], leaf, index - left, size - left))

# --- The folder -----------------------------------------------------------------------------
def read(folder, path):
    try:
        with open(os.path.join(folder, *path.split("/")), "rb") as file:
            return file.read()
    except OSError:
        raise Fault("file " + path + " is missing or cannot be read") from None

def manifest(folder, key):
    """The listed files, path to SHA-256 in hexadecimal, all found as listed and no others."""
    lines, listed, last = note(read(folder, "manifest"), key, "manifest", alone=True), {}, ""
    check(lines[1:2] == ["files %d" % (len(lines) - 2)], "manifest: line 2 is malformed")
    for number, line in enumerate(lines[2:], 3):
        fields = re.fullmatch(r"([0-9a-f]{64})  (0|[1-9]\d*)  (\w[\w.-]*(?:/\w[\w.-]*)*)",
                              line, re.ASCII)
        check(fields and last < fields[3] != "manifest", "manifest: line %d is malformed" % number)
        digest, size, last = fields.groups()
        content = read(folder, last)
        found = (hashlib.sha256(content).hexdigest(), str(len(content)))
        check(found == (digest, size), "file " + last + " was changed")
        listed[last] = digest
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
            check(path in listed or path == "manifest", "file " + path + " is not listed")
    return listed

def certificates(folder, listed, key):
    """What the proofs claim of the log: [(index, entry, size, root)]."""
    claims, paths = [], {path for path in listed if path.startswith("certificates/")}
    proofs = {path for path in paths if path.endswith(".tlog-proof")}
    proved = {path: re.sub(r"\.[^./]*$", "", path) + ".tlog-proof" for path in paths - proofs}
    check(set(proved.values()) == proofs, "a certificate has no proof, or a proof no certificate")
    for path, where in sorted(proved.items()):
        head, _, signed = read(folder, where).partition(b"\n\n")
        fields = re.fullmatch(r"c2sp\.org/tlog-proof@v1\nextra (\S+)\nindex (\d+)((?:\n\S+)*)",
                              head.decode("utf-8", "replace"), re.ASCII)
        check(fields, where + " is malformed")
        entry = unbase64(fields[1], where + ": the entry is malformed")
        index = decimal(fields[2], where + ": the index is malformed")
        hashes = [unbase64(text, where + ": a hash is malformed") for text in fields[3].split()]
        size, root = checkpoint(signed, key, where)
        check(index < size and root_by(hashes, leaf_hash(entry), index, size) == root,
              "%s: entry %d is not proved to be in the log" % (where, index))
        check(listed[path] in read_entry(entry, index, "")["facts"].values(),
              "certificate " + path + " is not the one that the log recorded")
        claims.append((index, entry, size, root))
    return claims

# --- The log --------------------------------------------------------------------------------
def read_entry(entry, index, last):
    """An entry whose form, number and time are right."""
    try:
        parsed = json.loads(entry.decode("utf-8"))
        written = json.dumps(parsed, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Fault("entry %d is not JSON" % index) from None
    check(isinstance(parsed, dict) and written == entry and list(parsed)[:2] == ["seq", "at"],
          "entry %d is not in its one written form" % index)
    check(parsed["seq"] == index, "entry %d carries another number" % index)
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(parsed["at"]), re.ASCII),
          "entry %d has no time" % index)
    check(parsed["at"] >= last, "entry %d is dated before the one above" % index)
    return {"facts": {}, **parsed}

def tile(level, number, width):
    path, number = "%03d" % (number % 1000), number // 1000
    while number:
        path, number = "x%03d/%s" % (number % 1000, path), number // 1000
    return "log/tile/%s/%s%s" % (level, path, "" if width == 256 else ".p/%d" % width)

def log(folder, claims, key):
    """Reads the whole log; gives its size and root."""
    size, root = checkpoint(read(folder, "log/checkpoint"), key, "log/checkpoint")
    leaves, last, proved = [], "", {index: entry for index, entry, _, _ in claims}
    while len(leaves) < size:
        width = min(256, size - len(leaves))
        bundle = read(folder, tile("entries", len(leaves) // 256, width))
        for index in range(len(leaves), len(leaves) + width):
            check(len(bundle) >= 2, "entry %d is missing" % index)
            end = 2 + int.from_bytes(bundle[:2], "big")
            check(len(bundle) >= end, "entry %d is cut off" % index)
            entry, bundle = bundle[2:end], bundle[end:]
            last = read_entry(entry, index, last)["at"]
            check(proved.get(index, entry) == entry, "entry %d is not the proved one" % index)
            leaves.append(leaf_hash(entry))
        check(not bundle, "entry %d stands after the end" % len(leaves))
    level, hashes = 0, leaves
    while hashes:
        tiles = [hashes[start:start + 256] for start in range(0, len(hashes), 256)]
        for number, part in enumerate(tiles):
            path = tile(level, number, len(part))
            check(read(folder, path) == b"".join(part), "tile " + path + " does not match")
        level, hashes = level + 1, [root_of(part) for part in tiles if len(part) == 256]
    check(root_of(leaves) == root, "the root over %d entries is not the signed one" % size)
    for _, _, known, claimed in claims:
        check(known <= size, "the log ends before a checkpoint of %d entries" % known)
        check(root_of(leaves[:known]) == claimed,
              "the first %d entries are not those of a proof's checkpoint" % known)
    return size, root

def main(arguments):
    if len(arguments) not in (1, 3) or arguments[1:2] not in ([], ["--key"]):
        sys.exit(__doc__)
    try:
        inside = read(arguments[0], "audit.vkey").decode("utf-8", "replace")
        text = arguments[2] if len(arguments) == 3 else inside.rstrip("\n")
        key = Key(text)
        listed = manifest(arguments[0], key)
        check(inside == text + "\n", "audit.vkey is another key")
        claims = certificates(arguments[0], listed, key)
        size, root = log(arguments[0], claims, key)
    except Fault as fault:
        print("FAULT: %s" % fault)
        return 1
    print("key %s\nfiles %d, as listed\ncertificates %d, each recorded in the log\nlog %d entries, "
          "root %s\nOK" % (text, len(listed), len(claims), size, root.hex()))
    return 0

sys.exit(main(sys.argv[1:]))
