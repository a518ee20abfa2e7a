"""The key and certificate that sign manifests: the operator's own, or ones that are made on first use.

The certificate that is made here signs itself. A manifest that it signs is valid: changes of the file are found. It is
not trusted: anybody can make such a certificate, so it does not prove who signed.
"""

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from sorajax.errors import BadRequest, note
from sorajax.files import whole_file

FILE = "signer.pem"
YEARS = 10
NAME = "sorajax, self-made certificate"
PRIVATE = b"-----BEGIN PRIVATE KEY-----"


@dataclass(frozen=True)
class Credentials:
    """PEM texts of a certificate chain, leaf first, and of its private key."""

    chain: bytes
    key: bytes


def credentials(certificate: str = "", key: str = "") -> Credentials:
    """The operator's files, or else the user's own. Raises BadRequest for files that cannot be read."""
    if not certificate:
        return own_credentials(config_folder() / FILE)
    try:
        return Credentials(*(Path(path).expanduser().read_bytes() for path in (certificate, key)))
    except OSError as error:
        raise BadRequest(
            f"{error.filename} cannot be read ({error.strerror}): it signs files, see docs/safety.md"
        ) from error


@lru_cache(maxsize=4)
def own_credentials(path: Path) -> Credentials:
    """The credentials in a file, which is created if it is missing or its certificate has expired. Where it cannot be
    stored, a note says so, and this process signs with temporary ones."""
    try:
        kept = path.read_bytes() if path.is_file() else b""
        if kept and not has_ended(kept):
            chain, _, key = kept.partition(PRIVATE)
            return Credentials(chain, PRIVATE + key)
        made = make_credentials()
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.touch(0o600)  # only the user reads the key
            temporary.write_bytes(made.chain + made.key)
    except OSError as error:
        note(f"{path} cannot be kept ({error.strerror}): files are signed with a key of this process alone")
        return make_credentials()
    return made


def has_ended(certificate: bytes) -> bool:
    """Whether a certificate ends within a day."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc < datetime.now(UTC) + timedelta(days=1)


def make_credentials(name: str = NAME) -> Credentials:
    """A new key (P-256) and a certificate that it signs itself, as the C2PA specification 2.2, section 14.5 asks."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    attributes = ((NameOID.ORGANIZATION_NAME, "sorajax"), (NameOID.COMMON_NAME, name))
    subject = x509.Name([x509.NameAttribute(*attribute) for attribute in attributes])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    extensions = (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
    )
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=365 * YEARS))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credentials(certificate.public_bytes(serialization.Encoding.PEM), private)


def config_folder() -> Path:
    """The user's folder for settings of sorajax; `SORAJAX_CONFIG` names another."""
    if named := os.environ.get("SORAJAX_CONFIG"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "sorajax"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming")) / "sorajax"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "sorajax"
