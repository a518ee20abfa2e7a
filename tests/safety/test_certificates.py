"""A key and certificate are made once, and only the user reads them."""

import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from sorajax.errors import BadRequest, Note
from sorajax.safety.certificates import FILE, credentials, has_ended, make_credentials, own_credentials


def test_they_are_made_on_first_use_and_kept(settings):
    first = credentials()
    own_credentials.cache_clear()
    assert credentials() == first
    assert [path.name for path in settings.iterdir()] == [FILE]
    if os.name == "posix":
        assert stat.S_IMODE((settings / FILE).stat().st_mode) == 0o600


def test_the_certificate_cannot_sign_others_and_lasts_for_years():
    found = x509.load_pem_x509_certificate(make_credentials().chain)
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert found.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3000)


def test_one_that_has_ended_is_made_again(settings, monkeypatch):
    monkeypatch.setattr("sorajax.safety.certificates.YEARS", 0)
    first = credentials()
    assert has_ended(first.chain)
    own_credentials.cache_clear()
    monkeypatch.setattr("sorajax.safety.certificates.YEARS", 1)
    assert not has_ended(credentials().chain)


def test_the_operator_names_their_own(tmp_path):
    made = make_credentials()
    (tmp_path / "chain.pem").write_bytes(made.chain)
    (tmp_path / "key.pem").write_bytes(made.key)
    assert credentials(str(tmp_path / "chain.pem"), str(tmp_path / "key.pem")) == made
    with pytest.raises(BadRequest, match="cannot be read"):
        credentials(str(tmp_path / "gone.pem"), str(tmp_path / "key.pem"))


def test_a_folder_that_cannot_be_written_is_noted(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SORAJAX_CONFIG", str(tmp_path / "file" / "folder"))
    with pytest.warns(Note, match="a key of this process alone"):
        first = credentials()
    assert credentials() == first
