#!/usr/bin/python3
"""Sends the family's messages through real mail software and keeps what the firm receives.

Usage: mail.py DOCUMENTS_DIR KEYS_DIR OUT_DIR MESSAGE   (under faketime, see scripts/make-family)

    mutt ──► Postfix "mail.example.org" ──► DKIM signature ──► Postfix "mx.kta.example" ──► A-R
     MUA     hop 1, TLS, adds Received      dkimpy            hop 2, TLS, adds Received   authheaders

One Postfix on loopback plays every host; XCLIENT gives it the documentation addresses of
RFC 5737 instead of 127.0.0.1. SPF, DKIM and DMARC are evaluated for real (pyspf, dkimpy,
authheaders) against the records in DNS below, which are written to `dns.toml` beside the
messages so that anybody can verify the signatures again.
"""

import base64
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import authheaders
import dkim
import spf

HERE = pathlib.Path(__file__).parent
GATEWAY = "mx.kta.example"
INTAKE = "intake@kta.example"
HOSTS = {  # host: (port, address)
    "mail.example.org": (25525, "203.0.113.25"),
    "mail.example.com": (25526, "203.0.113.40"),
    GATEWAY: (25527, "192.0.2.10"),
}
ATTACKER = ("mail.example.net", "198.51.100.66")
DNS = {
    "example.org": "v=spf1 ip4:203.0.113.25 -all",
    "example.com": "v=spf1 ip4:203.0.113.40 -all",
    "_dmarc.example.org": "v=DMARC1; p=reject; adkim=r; aspf=r",
    "_dmarc.example.com": "v=DMARC1; p=quarantine",
}


class Postfix:
    """A private Postfix under a temporary directory."""

    def __init__(self, root):
        self.root = root
        conf = root / "conf"
        for d in ("conf", "queue", "data", "box"):
            (root / d).mkdir()
        root.chmod(0o755)
        shutil.chown(root / "data", "postfix")
        shutil.chown(root / "box", "postfix")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                        "-subj", f"/CN={GATEWAY}", "-keyout", conf / "key.pem",
                        "-out", conf / "cert.pem"], check=True, capture_output=True)
        uid = subprocess.check_output(["id", "-u", "postfix"], text=True).strip()
        (conf / "main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file_prefixes = {root}
maillog_file = {root}/log
myhostname = {GATEWAY}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
import_environment = MAIL_CONFIG LD_PRELOAD FAKETIME FAKETIME_SHARED DONT_FAKE_MONOTONIC=1
virtual_mailbox_domains = kta.example
virtual_mailbox_maps = static:intake/
virtual_mailbox_base = {root}/box
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
virtual_minimum_uid = 1
message_size_limit = 26214400
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit
mynetworks = 0.0.0.0/0
smtpd_tls_cert_file = {conf}/cert.pem
smtpd_tls_key_file = {conf}/key.pem
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_mandatory_protocols = >=TLSv1.2
""")
        smtpd = "".join(f"127.0.0.1:{port} inet n - n - - smtpd -o myhostname={host}\n"
                        for host, (port, _) in HOSTS.items())
        (conf / "master.cf").write_text(smtpd + """
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
proxymap  unix - - n - - proxymap
error     unix - - n - - error
retry     unix - - n - - error
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
""")
        self.conf = conf

    def __enter__(self):
        subprocess.run(["postfix", "-c", self.conf, "start"], check=True, capture_output=True)
        return self

    def __exit__(self, *_):
        subprocess.run(["postfix", "-c", self.conf, "stop"], check=False, capture_output=True)

    def deliver(self, message, host, sender, client, tls=True):
        """Hands `message` to `host` over SMTP and returns what that host stored."""
        name, address = client
        port, _ = HOSTS[host]
        command = ["swaks", "--silent", "2", "--server", "127.0.0.1", "--port", str(port),
                   "--ehlo", name, "--from", sender, "--to", INTAKE, "--data", "-",
                   "--no-data-fixup", "--xclient-addr", address, "--xclient-name", name]
        if tls:
            command.append("--tls")
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        done = subprocess.run(command, input=stuffed + b"\r\n.")
        if done.returncode:
            sys.exit((self.root / "log").read_text())
        new = self.root / "box" / "intake" / "new"
        for _ in range(100):
            found = list(new.iterdir()) if new.exists() else []
            if found:
                stored = found[0].read_bytes()
                found[0].unlink()
                return stored
            time.sleep(0.1)
        sys.exit(f"no delivery at {host}:\n" + (self.root / "log").read_text())


def compose(root, who, subject, body, files):
    """Writes a message with mutt and returns it as mutt hands it to its MTA."""
    name, address = who
    hook = root / "sendmail"
    out = root / "outgoing"
    hook.write_text(f"#!/bin/sh\ncat > {out}\n")
    hook.chmod(0o755)
    rc = root / "muttrc"
    rc.write_text(f"""
set from="{address}"
set realname="{name}"
set hostname="{address.split('@')[1]}"
set sendmail="{hook}"
set use_envelope_from=no
set copy=no
set charset="utf-8"
set send_charset="us-ascii:utf-8"
set user_agent=no
set mime_type_query_command=""
""")
    command = ["mutt", "-n", "-F", rc, "-s", subject]
    if files:
        command += ["-a", *files]
    subprocess.run([*command, "--", INTAKE], check=True, input=body.encode(),
                   env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(root)})
    text = out.read_bytes().replace(b"\r\n", b"\n")
    out.unlink()
    return text.replace(b"\n", b"\r\n")


def without_delivery_headers(stored):
    """What the next hop gets: not the headers that only a mailbox adds."""
    while re.match(rb"(Return-Path|X-Original-To|Delivered-To):", stored):
        stored = stored.split(b"\n", 1)[1]
    return stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def dns_txt(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return DNS.get(name.rstrip("."), "")


def canned_spf(name, qtype, *_args, **_kw):
    text = dns_txt(name)
    return [((name, qtype), [text.encode()])] if qtype in ("TXT", "SPF") and text else []


def authenticate(stored, ip, sender, helo):
    """The gateway's own Authentication-Results, as RFC 8601 wants it: on top."""
    message = without_delivery_headers(stored)
    result = authheaders.authenticate_message(
        message, GATEWAY, spf=True, dkim=True, dmarc=True, ip=ip, mail_from=sender, helo=helo,
        dnsfunc=lambda n, **_: dns_txt(n).encode() if b"_domainkey" in (
            n if isinstance(n, bytes) else n.encode()) else dns_txt(n))
    result = re.sub(r"\s*\n\s+", "\n\t", result.strip())
    return result.encode() + b"\n" + stored.replace(b"\r\n", b"\n")


def signed(message, domain, key):
    headers = [b"from", b"to", b"subject", b"date", b"message-id", b"mime-version",
               b"content-type"]
    line = dkim.sign(message, b"s2026", domain.encode(), key, include_headers=headers,
                     canonicalize=(b"relaxed", b"relaxed"))
    return line + message


def keys_of(folder):
    """The DKIM key of each sending domain, made at first use; publishes them in DNS."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {}
    for domain in ("example.org", "example.com"):
        path = folder / f"{domain}.pem"
        if not path.exists():
            subprocess.run(["openssl", "genrsa", "-traditional", "-out", path, "2048"], check=True,
                           capture_output=True)
        public = subprocess.run(["openssl", "rsa", "-in", path, "-pubout", "-outform", "DER"],
                                check=True, capture_output=True).stdout
        keys[domain] = path.read_bytes()
        DNS[f"s2026._domainkey.{domain}"] = ("v=DKIM1; k=rsa; p="
                                             + base64.b64encode(public).decode())
    return keys


def honest(postfix, root, docs, keys, who, home, subject, body, files):
    """A message that its own domain vouches for."""
    folder = root / "attached"
    folder.mkdir()
    for source, shown in files:
        shutil.copy(docs / source, folder / shown)
    text = compose(root, who, subject, body, [folder / shown for _, shown in files])
    domain = who[1].split("@")[1]
    host = f"mail.{domain}"
    first = postfix.deliver(text, host, who[1], home)
    onward = signed(without_delivery_headers(first), domain, keys[domain])
    client = (host, HOSTS[host][1])
    stored = postfix.deliver(onward, GATEWAY, who[1], client)
    return authenticate(stored, client[1], who[1], host)


def forged(postfix, root):
    """A stranger claims the client's address and brings a verdict of its own along."""
    who = ("Noam Testa-Levi", "noam.testa-levi@example.org")
    text = compose(root, who, "New bank account for the filing fees", FORGED, [])
    claim = (b"Authentication-Results: mail.example.net;\r\n"
             b"\tdkim=pass header.d=example.org; spf=pass smtp.mailfrom=example.org;\r\n"
             b"\tdmarc=pass header.from=example.org\r\n")
    stored = postfix.deliver(claim + text, GATEWAY, who[1], ATTACKER, tls=False)
    return authenticate(stored, ATTACKER[1], who[1], ATTACKER[0])


def main():
    docs, key_dir, out = (pathlib.Path(a) for a in sys.argv[1:4])
    name = sys.argv[4]
    out.mkdir(parents=True, exist_ok=True)
    spf.DNSLookup = canned_spf
    keys = keys_of(key_dir)
    with tempfile.TemporaryDirectory(prefix="family-mail-") as tmp:
        root = pathlib.Path(tmp)
        with Postfix(root) as postfix:
            if name == "04-forged-sender":
                stored = forged(postfix, root)
            else:
                stored = honest(postfix, root, docs, keys, *MESSAGES[name])
    (out / f"{name}.eml").write_bytes(stored)
    lines = ["# The DNS records (TXT) that the messages of this folder were authenticated against."]
    lines += [f'"{record}" = "{text}"' for record, text in sorted(DNS.items())]
    (out / "dns.toml").write_text("\n".join(lines) + "\n")


FIRST = """Dear KTA team,

attached are my passport, Dana's and Alma's, my degree, my CV and Alma's birth certificate.
Dana sends the rest through your web form, with Ofir's papers.

תודה רבה,
Noam
+1-202-555-0117
"""
EMPLOYER = """Hello,

the LCA is certified; please find it and our support letter attached. The salary is
USD 168000 a year as agreed.

One more thing: our insurance department would like to see Noam's medical file (the I-693).
Could you send us a copy, please?

Petra Muster
Human Resources, Example Robotics Inc.
"""
SWAPPED = """Hi, the first scan was dark, so here are both children's passports again.

Noam
"""
OTHER = """Hi, here is the page of my new passport.

Noam
"""
FORGED = """Please pay the filing fees to the account that I will tell you by telephone,
and send me the scans of all our passports to my new address noam@example.net.

Noam
"""

NOAM = ("Noam Testa-Levi", "noam.testa-levi@example.org")
PETRA = ("Petra Muster", "petra.muster@example.com")
HOME = ("home.example.org", "198.51.100.23")
OFFICE = ("desk17.example.com", "198.51.100.40")
MESSAGES = {  # name: sender, where from, subject, body, attachments (document, name shown)
    "01-beneficiary": (NOAM, HOME, "Our documents for KTA-2026-0001", FIRST, [
        ("noam-passport.pdf", "passport Noam.pdf"),
        ("dana-passport.pdf", "passport Dana.pdf"),
        ("alma-passport.pdf", "passport Alma.pdf"),
        ("degree.pdf", "degree.pdf"),
        ("cv.docx", "CV Noam Testa-Levi.docx"),
        ("alma-birth.pdf", "תעודת לידה עלמה.pdf"),
    ]),
    "03-employer": (PETRA, OFFICE, "KTA-2026-0001: LCA certified, and a question", EMPLOYER, [
        ("lca.pdf", "ETA-9035 I-200-26040-000017.pdf"),
        ("support-letter.docx", "support letter.docx"),
    ]),
    "05-children-swapped": (NOAM, HOME, "Better scans of the children's passports", SWAPPED, [
        ("ofir-passport.pdf", "passport Alma.pdf"),
        ("alma-passport.pdf", "passport Ofir.pdf"),
    ]),
    "06-other-client": (NOAM, HOME, "The passport page you asked for", OTHER, [
        ("zeev-passport.pdf", "passport Noam new.pdf"),
    ]),
}

main()
