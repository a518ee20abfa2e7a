"""Parts are compared with the reference one by one, and what cannot be compiled is a dash."""

from sorajax.evaluation import opening, reference
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.evaluation.comparison import measure


def test_each_part_is_compared_with_the_reference(capsys, monkeypatch):
    row = {"ours": 0.5, "eager": 1.0, "compiled": None, "ratio": 2.0, "difference": 1e-6, "failure": "it failed"}
    monkeypatch.setattr(reference, "conditions", lambda: {"versions": {"torch": "2"}, "threads": 2})
    monkeypatch.setattr(reference, "PARTS", dict.fromkeys(("vae", "text"), lambda: ("small", {"encode": None})))
    monkeypatch.setattr(reference, "compare", lambda name, call, repeats, eager: {**row, "name": name})
    measured = measure(Benchmark("reference", part=("vae",), repeats=2))
    found = measured.figures["reference"]
    assert found["vae"] == {"shape": "small", "encode": {**row, "name": "vae encode"}}
    assert "text" not in found
    assert "500.0   1000.0        -   2.00x     1.0e-06  it failed" in capsys.readouterr().out
    assert "| small: encode | 500.0 | 1000.0 | - | 2.00x |" in measured.tables["reference-vae"]


def test_loading_time_is_compared_with_the_reference(capsys, monkeypatch):
    seconds = {"reference": 1.0, "ours": 1.5, "converted": 0.5, "bytes": 8 * 10**8}
    monkeypatch.setattr(reference, "conditions", lambda: {"versions": {"torch": "2"}, "threads": 2})
    monkeypatch.setattr(opening, "opening", lambda repeats, **changes: seconds)
    measured = measure(Benchmark("reference", part=("opening",), repeats=2))
    assert measured.figures["reference"]["opening"] == seconds
    assert "opening what is converted | 500 | 1,000 | - | 2.00x |" in measured.tables["reference-opening"]
    said = "reference 1,000, ours 1,500, converted 500: converted 3.00x as fast as the shards"
    assert said in capsys.readouterr().out
