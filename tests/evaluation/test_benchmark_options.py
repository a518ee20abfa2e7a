"""A benchmark names the tables that it can write into pages."""

from sorajax.evaluation.benchmark_options import Benchmark


def test_each_measurement_has_its_own_table():
    assert Benchmark("reference", part=("dit12",)).tables == ("reference-dit12",)
    assert Benchmark("reference", part=("dit", "vae")).tables == ("reference-dit-vae",)
    assert Benchmark("films").tables == ("films",)
    assert Benchmark("cost", model="world-fast").tables == ("cost-fast",)
    assert Benchmark("clip").tables == ("clip", "importing")
    assert Benchmark("cost", model="runs/mine").tables == ()  # pages have bundled models only
    assert Benchmark("configs/world_dit.py").tables == ("streamed",)
    assert Benchmark("configs/world_dit.py", remat=True).tables == ("remat",)
    assert Benchmark("configs/world_dit.py", remat=True, loader=True).tables == ()
