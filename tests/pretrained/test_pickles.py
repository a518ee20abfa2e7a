"""Checkpoints of PyTorch are read without PyTorch, and nothing in them is run."""

import pickle

import numpy as np
import pytest

from sorajax.pretrained.pickles import PickledTensors

torch = pytest.importorskip("torch", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity


def test_pickles_are_read_without_torch_and_run_no_code(tmp_path):
    rng = torch.Generator().manual_seed(0)
    tensors = {
        "a": torch.randn(3, 4, generator=rng),
        "turned": torch.randn(3, 4, generator=rng).T,
        "part": torch.randn(6, generator=rng)[2:5],
        "b": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.0),
    }
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save({"state": tensors, "step": 3}, path, _use_new_zipfile_serialization=zipped)
        found = PickledTensors(path)
        assert set(found) == {f"state.{name}" for name in tensors}
        for name, tensor in tensors.items():
            assert np.array_equal(found[f"state.{name}"].astype(np.float32), tensor.float().numpy())
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match=r"(no whole torch checkpoint|cut short).*download it again"):
            PickledTensors(path)

    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list.pth is no whole torch checkpoint .*: download it again"):
        PickledTensors(tmp_path / "list.pth")

    class Evil:
        def __reduce__(self):
            return print, ("it ran",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"a": Evil()}, tmp_path / "zipped.pth")
    for name in ("evil.pth", "zipped.pth"):
        with pytest.raises(ValueError, match=r"would run (builtins|__builtin__).print when opened.*do not trust"):
            PickledTensors(tmp_path / name)
