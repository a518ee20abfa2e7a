"""Signatures with the time of an authority: a small RFC 3161 server, whose answers OpenSSL makes."""

import shutil
import subprocess
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sorajax.errors import BadRequest
from sorajax.safety.detector import inspect
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from sorajax.safety.provenance import read_manifest

CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
"""


def write_credentials(folder):
    """A key and certificate that may sign time stamps, and OpenSSL's settings."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "an authority")])
    now, public = datetime.now(UTC), key.public_key()
    no = dict.fromkeys(("key_encipherment", "data_encipherment", "key_agreement", "crl_sign", "key_cert_sign"), False)
    no |= dict.fromkeys(("encipher_only", "decipher_only", "content_commitment"), False)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public)
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(1))
    for extension, critical in (
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True),
        (x509.KeyUsage(digital_signature=True, **no), True),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False),
    ):
        builder = builder.add_extension(extension, critical)
    pem = serialization.Encoding.PEM
    (folder / "tsa.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tsa.key").write_bytes(private)
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder))


@pytest.fixture
def authority(tmp_path_factory):
    """The address of an authority; `fails` among its attributes makes it answer with an error."""
    if shutil.which("openssl") is None:
        pytest.skip("OpenSSL's program is not installed")
    folder = tmp_path_factory.mktemp("authority")
    write_credentials(folder)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["content-length"])))
            if self.server.fails:
                self.send_error(500)
                return
            command = ["openssl", "ts", "-reply", "-config", folder / "tsa.cnf", "-queryfile", folder / "query"]
            subprocess.run([*command, "-out", folder / "reply"], check=True, capture_output=True)
            self.server.asked += 1
            self.send_response(200)
            self.send_header("content-type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write((folder / "reply").read_bytes())

        def log_message(self, *_):
            """Keeps the log quiet."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.fails, server.asked = False, 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def stamped(video, server):
    """The video, whose files are signed with a time stamp of this server."""
    return replace(video, finishing=Safety(Policy(timestamps=f"http://127.0.0.1:{server.server_port}/")))


def signature_of(path):
    store = read_manifest(path)
    assert store["validation_state"] == "Valid", store["validation_results"]
    return store["manifests"][store["active_manifest"]]["signature_info"]


def test_a_signature_has_the_time_of_the_authority(video, authority, tmp_path):
    assert "time" not in signature_of(video.save(tmp_path / "plain.mp4"))
    assert authority.asked == 0
    path = stamped(video, authority).save(tmp_path / "stamped.mp4")
    signature = signature_of(path)
    assert authority.asked == 1
    assert abs(datetime.fromisoformat(signature["time"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert "a time-stamp authority says so" in " ".join(inspect(path).words)


def test_without_the_authority_no_file_is_written(video, authority, tmp_path):
    authority.fails = True
    with pytest.raises(BadRequest, match="the file cannot be signed"):
        stamped(video, authority).save(tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []
