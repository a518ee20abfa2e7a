"""The windows of a film overlap, end where a prompt does, and always go on."""

import pytest

from sorajax.sampling.shots import Shot, runs
from sorajax.sampling.windows import known_before, new_latents, overlap, prompts_of, window_seed, windows_for


def test_a_window_has_fixed_latents_and_new_ones():
    for window in (2, 5, 9, 21):
        prompts, done, count = ["a"] * 100, 0, 0
        while done < 100:
            assert known_before(done, window) < window
            done += new_latents(prompts, done, window)
            count += 1
        assert done == 100
        assert windows_for([Shot("a", 1 + 99 * 4)], window, 4) == count


def test_prompts_change_at_the_nearest_latent_where_a_window_ends():
    run = [Shot("a", 16), Shot("b", 7)]
    prompts = prompts_of(run, 4)
    assert prompts == ["a"] * 5 + ["b"] * 2
    assert new_latents(prompts, 3, 9) == 2
    assert [len(part) for part in runs([*run, Shot("c", 4, cut=True), Shot("d", 4)])] == [2, 2]


@pytest.mark.parametrize("window", [2, 3, 4, 5, 9, 21])
def test_a_window_shares_two_latents_or_a_third_and_has_one_of_its_own(window):
    shared = overlap(window)
    assert shared <= window - 2, "anchor and overlap leave one new latent"
    assert shared >= min(2, window - 2)
    assert shared <= max(2, window / 3)


def test_windows_have_noise_of_their_own_and_the_first_that_of_a_clip():
    seeds = [window_seed(7, number) for number in range(20)]
    assert seeds[0] == 7
    assert len({*seeds, *(window_seed(8, number) for number in range(20))}) == 40
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds == [window_seed(7, number) for number in range(20)]
