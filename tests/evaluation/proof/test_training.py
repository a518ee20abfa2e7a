"""A training step whose losses are not finite fails its check."""

from types import SimpleNamespace

import pytest

from sorajax.evaluation.proof import training
from sorajax.evaluation.proof.figures import Setting
from sorajax.evaluation.proof.sizes import TOY
from sorajax.evaluation.speed import Figures


@pytest.mark.parametrize(("loss", "failed"), [(1.0, False), (float("nan"), True)])
def test_losses_are_finite(loss, failed, monkeypatch):
    cases = []

    def ready_training(case, mesh, losses, random):
        cases.append(case)
        losses.extend([0.5, loss])
        found = Figures(1.0, 2.0, 1.5, 100e12, 50e12, 0.5, None)
        return SimpleNamespace(compile_seconds=1.0, cached=False, flops=100e12, timed=lambda repeats: found, call=None)

    monkeypatch.setattr(training, "ready_training", ready_training)
    (piece,) = training.pieces(Setting(TOY, 1.0)).values()
    figures = {figure.name: figure for figure in piece()}
    assert figures["training step: losses are finite"].failed == failed
    assert figures["training step: losses are finite"].note == "2 steps"
    assert figures["training step: utilisation"].met
    assert cases[0].dit.remat == "full"
