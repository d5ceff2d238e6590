#!/usr/bin/python3
"""Writes examples/family/manifest.toml: who the people are, which files there are, what to expect.

Usage: manifest.py FAMILY_DIR

The people are copied from people.toml; sizes and hashes are read from the files themselves.
"""

import email
import email.policy
import hashlib
import pathlib
import sys

HERE = pathlib.Path(__file__).parent

# What a reader of the intake should find. `refusal` names the code that the delivery, or the
# document in it, must meet on its way; `of` is the person a document really belongs to,
# `for` the person it is declared for by its name or form field.
DELIVERIES = [
    ("01-beneficiary", "mail", "mail/01-beneficiary.eml", "2026-03-02T08:05:00Z", "secure", None,
     "The beneficiary sends the adults' and one child's passport pages, degree, CV, a birth certificate."),
    ("02-spouse", "form", "form/02-spouse.head", "2026-03-02T08:20:00Z", "secure", None,
     "The spouse posts the web form with the other child's documents and the marriage certificate."),
    ("03-employer", "mail", "mail/03-employer.eml", "2026-03-02T09:40:00Z", "secure", None,
     "The employer sends the petition side, and asks for the medical file, which it may not have."),
    ("04-forged-sender", "mail", "mail/04-forged-sender.eml", "2026-03-02T10:15:00Z", "insecure",
     "INT-SPOOF", "A stranger under the client's address, with an Authentication-Results of its own."),
    ("05-children-swapped", "mail", "mail/05-children-swapped.eml", "2026-03-02T11:00:00Z", "secure",
     "REV-WRONG-PERSON", "The children's passport pages, each under the other's name."),
    ("06-other-client", "mail", "mail/06-other-client.eml", "2026-03-02T11:30:00Z", "secure",
     "REV-WRONG-PERSON", "The passport page of a client of another matter."),
]

# part name: (document, of, for)
MEANING = {
    ("01-beneficiary", "passport Noam.pdf"): ("passport", "noam", "noam"),
    ("01-beneficiary", "passport Dana.pdf"): ("passport", "dana", "dana"),
    ("01-beneficiary", "passport Alma.pdf"): ("passport", "alma", "alma"),
    ("01-beneficiary", "degree.pdf"): ("degree", "noam", "noam"),
    ("01-beneficiary", "CV Noam Testa-Levi.docx"): ("resume", "noam", "noam"),
    ("01-beneficiary", "תעודת לידה עלמה.pdf"): ("birth_certificate", "alma", "alma"),
    ("02-spouse", "passport Ofir.pdf"): ("passport", "ofir", "ofir"),
    ("02-spouse", "תעודת לידה אופיר.pdf"): ("birth_certificate", "ofir", "ofir"),
    ("02-spouse", "marriage certificate.pdf"): ("marriage_certificate", "dana", "dana"),
    ("03-employer", "ETA-9035 I-200-26040-000017.pdf"): ("lca", "employer", "employer"),
    ("03-employer", "support letter.docx"): ("employer_letter", "employer", "employer"),
    ("05-children-swapped", "passport Alma.pdf"): ("passport", "ofir", "alma"),
    ("05-children-swapped", "passport Ofir.pdf"): ("passport", "alma", "ofir"),
    ("06-other-client", "passport Noam new.pdf"): ("passport", "zeev", "noam"),
}


def parts(root, kind, path):
    """The attachments of a stored delivery, as (form field, name, bytes)."""
    if kind == "mail":
        message = email.message_from_bytes((root / path).read_bytes(), policy=email.policy.default)
        for part in message.iter_attachments():
            yield None, part.get_filename(), part.get_payload(decode=True)
    else:
        head = (root / path).read_bytes()
        boundary = head.split(b"boundary=")[1].split(b"\r\n")[0]
        body = (root / path).with_suffix(".body").read_bytes()
        for chunk in body.split(b"--" + boundary)[1:-1]:
            top, content = chunk[2:-2].split(b"\r\n\r\n", 1)
            if b"filename=" in top:
                shown = top.split(b'filename="')[1].split(b'"')[0].decode()
                field = top.split(b' name="')[1].split(b'"')[0].decode()
                yield field, shown, content


def main():
    root = pathlib.Path(sys.argv[1])
    text = (HERE / "people.toml").read_text()
    text = text.split("\n\n", 1)[1]
    out = ["# Made by scripts/make-family; edit scripts/family/people.toml instead.",
           "# Nobody here exists: see README.md.", "", text.rstrip(), ""]
    seen = set()
    for name, kind, path, at, verdict, refusal, story in DELIVERIES:
        out += ["[[delivery]]", f'id = "{name}"', f'channel = "{kind}"', f'file = "{path}"',
                f"received = {at}", f'verdict = "{verdict}"', f'story = "{story}"']
        if kind == "form":
            out.append(f'body = "{pathlib.Path(path).with_suffix(".body")}"')
        if refusal:
            out.append(f'refusal = "{refusal}"')
        out.append("")
        for field, shown, content in parts(root, kind, path):
            document, of, declared = MEANING[name, shown]
            seen.add((name, shown))
            out += ["[[delivery.part]]", f'name = "{shown}"']
            if field:
                out.append(f'field = "{field}"')
            out += [f'document = "{document}"', f'of = "{of}"', f'for = "{declared}"',
                    f"bytes = {len(content)}",
                    f'sha256 = "{hashlib.sha256(content).hexdigest()}"', ""]
    assert seen == set(MEANING), set(MEANING) - seen
    out += ["# Paper: the civil surgeon's sealed envelope. The firm keeps it and must not open it,",
            "# so there is nothing to read, only its custody.",
            "[[custody]]", 'id = "envelope-0001"', 'form = "I-693"', 'of = "noam"',
            'category = "SPECIAL_SEALED"', "received = 2026-03-02T12:00:00Z",
            'handed_in_by = "noam"', 'issued_by = "Dr. Proba Muster, civil surgeon (invented)"',
            "issued = 2026-02-23", "seal_intact = true", 'kept_at = "safe 1, shelf 3"', ""]
    (root / "manifest.toml").write_text("\n".join(out))


main()
