"""Long sounds: windows cover the whole, lie on the grid, and blend without a seam."""

from itertools import pairwise

import pytest
import torch

from drawaudio_model.clip_format import CLIP_SECONDS
from drawaudio_model.generation.windows import blended, fade_weights, grid_seconds, window_starts_seconds


@pytest.mark.parametrize(("latent_frames", "grid"), [(200, 1), (100, 2), (50, 4), (25, 8)])
def test_windows_start_where_the_latent_has_a_whole_frame(latent_frames: int, grid: int) -> None:
    assert grid_seconds(latent_frames) == grid
    assert grid * latent_frames % CLIP_SECONDS == 0


@pytest.mark.parametrize("seconds", [0.5, 8, 8.01, 9.97, 12, 13.3, 31, 60])
@pytest.mark.parametrize("latent_frames", [100, 200])
def test_windows_cover_the_sound_and_overlap_enough(seconds: float, latent_frames: int) -> None:
    starts = window_starts_seconds(seconds, latent_frames, overlap_seconds=4)
    assert starts[0] == 0 and starts[-1] + CLIP_SECONDS >= seconds
    assert starts[-1] + CLIP_SECONDS < max(seconds, CLIP_SECONDS) + grid_seconds(latent_frames)
    assert all(0 < later - earlier <= 4 for earlier, later in pairwise(starts))
    assert all(start % grid_seconds(latent_frames) == 0 for start in starts)


def test_an_overlap_of_a_whole_window_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 to 6 s"):
        window_starts_seconds(20, 100, overlap_seconds=8)
    with pytest.raises(ValueError, match=r"overlap by 3\.5 s, expected whole seconds"):
        window_starts_seconds(20, 100, overlap_seconds=3.5)
    with pytest.raises(ValueError, match="more than 0"):
        window_starts_seconds(float("nan"), 100)


def test_blending_gives_back_what_all_windows_agree_on() -> None:
    whole = torch.randn(2, 3, 21, 4)
    same = blended(whole, [0, 5, 11], 10, lambda number, part: 2 * part)
    assert torch.allclose(same, 2 * whole, atol=1e-6)
    decoded = blended(whole, [0, 5, 11], 10, lambda number, part: part[:, :1].repeat_interleave(8, dim=2))
    assert torch.allclose(decoded, whole[:, :1].repeat_interleave(8, dim=2), atol=1e-6)


def test_a_steady_value_that_differs_between_windows_changes_in_small_steps() -> None:
    values = [0.0, 1.0, 0.0]
    line = blended(torch.zeros(1, 1, 200, 1), [0, 50, 100], 100, lambda number, part: part + values[number])[0, 0, :, 0]
    assert line[0] == 0 and line[-1] == 0 and line.max() > 0.9
    assert line.diff().abs().max() <= 1 / 50 + 1e-6


def test_weights_of_neighbours_sum_to_one() -> None:
    first, second = fade_weights([0, 6], 0, 10), fade_weights([0, 6], 1, 10)
    assert torch.allclose(first[6:] + second[:4], torch.ones(4))
    assert torch.equal(first[:6], torch.ones(6)) and torch.equal(second[4:], torch.ones(6))
