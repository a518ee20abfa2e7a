"""A film's windows on disk: what was put is found again, by the same request only."""

import numpy as np
import pytest

from sorajax.sampling.store import WindowStore

LATENTS = np.random.default_rng(0).normal(size=(3, 2, 2, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """With window 2 of a film."""
    folder = tmp_path / "a.mp4.windows"
    WindowStore(folder, {"prompt": "a", "seed": 3}).put(2, LATENTS)
    return folder


def test_a_window_is_found_again_and_others_are_not(folder):
    store = WindowStore(folder, {"prompt": "a", "seed": 3}, resume=True)
    np.testing.assert_array_equal(store.get(2), LATENTS)
    assert store.get(1) is None


@pytest.mark.parametrize("size", [0, 5, 90])
def test_a_damaged_window_is_sampled_again(folder, size):
    (path,) = folder.glob("*.npy")
    path.write_bytes(path.read_bytes()[:size])
    assert WindowStore(folder, {"prompt": "a", "seed": 3}, resume=True).get(2) is None


def test_windows_of_another_request_are_refused_or_deleted(folder):
    with pytest.raises(ValueError, match=r"windows of another request, with another prompt: .* --overwrite") as error:
        WindowStore(folder, {"prompt": "b", "seed": 3}, resume=True)
    assert "\n" not in str(error.value)
    assert list(folder.glob("*.npy"))
    WindowStore(folder, {"prompt": "b", "seed": 3})
    assert not folder.exists()


def test_without_a_folder_nothing_is_stored():
    store = WindowStore()
    store.put(0, LATENTS)
    assert store.get(0) is None
