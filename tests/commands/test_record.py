"""Recording a game: what is wrong is one line, before anything is played."""

from sorajax.commands import record


def test_a_wrong_recording_is_one_line(tmp_path, capsys):
    assert record.main([str(tmp_path), "--plays", "0"]) == 2
    assert record.main([str(tmp_path), "--vae", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert "--plays 0 is not allowed: use at least 1" in error
    assert error.count("\n") == 2


def test_every_number_has_its_least(tmp_path, capsys):
    for option, value, least in (("--frames", "1", 2), ("--seed", "-1", 0)):
        assert record.main([str(tmp_path), option, value]) == 2
        assert f"{option} {value} is not allowed: use at least {least}\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
