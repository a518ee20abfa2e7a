"""Options of the server: what is refused, before anything starts."""

import pytest

from sorajax.commands.serve import main, parse
from sorajax.errors import BadRequest


def test_an_unknown_preset_is_refused_before_anything_starts(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "data"), "--preset", "fast"]) == 2
    assert capsys.readouterr().err.startswith("sorajax: preset 'fast' is unknown: use ")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "options",
    [["--port", "99999"], ["--batch", "0"], ["--worker"], ["--webhook", "ftp://x"], ["--webhook", "https://x"]],
    ids=" ".join,
)
def test_wrong_options_are_one_line(tmp_path, capfd, options, monkeypatch):
    monkeypatch.delenv("SORAJAX_WEBHOOK_SECRET", raising=False)
    assert main(["--data", str(tmp_path), *options]) == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_an_origin_that_is_none_is_refused():
    for origin in ("notebook.example.org", "https://a.example.org/path", "https://a.example.org; script-src *"):
        with pytest.raises(BadRequest, match="allow-origin"):
            parse(["--allow-origin", origin])
