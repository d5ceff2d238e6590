#!/usr/bin/python3
"""Posts the family's web form with curl over TLS and keeps the request as the firm gets it.

Usage: form.py DOCUMENTS_DIR OUT_DIR   (under faketime, see scripts/make-family)

    curl ──TLS──► nginx (ends TLS, says so in X-Tls-Version) ──► this script keeps head and body

The form's token is made as kta-intake makes it: `EXPIRY.NONCE.MAC`, where MAC is HMAC-SHA256
under the form's key over "kta-form/1", form version, expiry and nonce, joined by line feeds;
the nonce also stands in the cookie.
"""

import hashlib
import hmac
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

HERE = pathlib.Path(__file__).parent
FRONT, BACK = 25543, 25580
PERSONAL = ("family_name", "given_names", "native_name", "birth_date", "sex", "nationality",
            "passport_number", "passport_expiry", "national_id", "phone",
            "address", "occupation")


def token(firm, expiry, nonce):
    text = "\n".join(["kta-form/1", firm["form_version"], str(expiry), nonce])
    mac = hmac.new(bytes.fromhex(firm["form_key"]), text.encode(), hashlib.sha256).hexdigest()
    return f"{expiry}.{nonce}.{mac}"


def capture(server, kept):
    """Takes one request off the wire, byte for byte, and answers 202."""
    peer, _ = server.accept()
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.recv(65536)
    head, body = data.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                  if line.startswith(b"content-length:"))
    while len(body) < length:
        body += peer.recv(65536)
    peer.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    peer.close()
    kept += [head + b"\r\n\r\n", body]


def main():
    docs, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    data = tomllib.loads((HERE / "people.toml").read_text())
    firm, host = data["firm"], data["firm"]["form_host"]
    nonce = hashlib.sha256(b"specimen nonce of the lifecycle example").hexdigest()[:32]
    spouse = next(p for p in data["person"] if p["role"] == "spouse")
    fields = [("csrf_token", token(firm, int(time.time()) + 7200, nonce)),
              ("form_version", firm["form_version"]),
              ("matter", data["matter"]["reference"]),
              ("submitter", spouse["mail"])]
    for p in data["person"]:
        r = p["role"]
        fields += [(f"{r}.{key}", str(p[key])) for key in PERSONAL if key in p]
        fields += [(f"{r}.email", p["mail"])] if "mail" in p else []
    files = [("child2.passport_page", "ofir-passport.pdf", "passport Ofir.pdf"),
             ("child2.birth_certificate", "ofir-birth.pdf", "תעודת לידה אופיר.pdf"),
             ("marriage_certificate", "marriage.pdf", "marriage certificate.pdf")]

    with tempfile.TemporaryDirectory(prefix="family-form-") as tmp:
        root = pathlib.Path(tmp)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                        "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
                        "-keyout", root / "key.pem", "-out", root / "cert.pem"],
                       check=True, capture_output=True)
        (root / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{ }}
http {{
  access_log off; client_max_body_size 25m; client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u;
  scgi_temp_path {root}/s;
  server {{
    listen 127.0.0.1:{FRONT} ssl; server_name {host};
    ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://127.0.0.1:{BACK}; proxy_http_version 1.1;
      proxy_set_header Host $host; proxy_set_header Connection "";
      proxy_set_header X-Tls-Version $ssl_protocol;
    }}
  }}
}}
""")
        server = socket.create_server(("127.0.0.1", BACK))
        kept = []
        thread = threading.Thread(target=capture, args=(server, kept))
        thread.start()
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-e", root / "error.log", "-p", root,
                                  "-c", root / "nginx.conf"])
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", FRONT)) == 0:
                        break
                time.sleep(0.05)
            command = ["curl", "--silent", "--show-error", "--fail", "--http1.1",
                       "--cacert", root / "cert.pem",
                       "--connect-to", f"{host}:443:127.0.0.1:{FRONT}",
                       "-H", f"Origin: https://{host}", "-H", f"Referer: https://{host}/forms/h1b",
                       "-H", "Expect:", "-b", f"__Host-kta-form={nonce}"]
            for name, value in fields:
                command += ["--form-string", f"{name}={value}"]
            for name, source, shown in files:
                command += ["-F", f"{name}=@{docs / source};filename=\"{shown}\";type=application/pdf"]
            subprocess.run([*command, f"https://{host}/forms/h1b"], check=True)
            thread.join()
        finally:
            nginx.terminate()
            nginx.wait()
    head, body = kept
    (out / "02-spouse.head").write_bytes(head)
    (out / "02-spouse.body").write_bytes(body)


main()
