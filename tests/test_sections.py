"""A section made anew: nothing outside changes, only its windows are sampled, and it joins what is beside it."""

import numpy as np
import pytest
import soxr
import torch
from diffusers import DDIMScheduler

from drawaudio_model.clip_format import SAMPLE_RATE
from drawaudio_model.generation.output import Take
from drawaudio_model.generation.sampling import Given, denoise, sampling_solver, starting_noise
from drawaudio_model.generation.sections import (
    FADE_SECONDS,
    PLACE_SECONDS,
    Section,
    excerpt,
    level_of_neighbours,
    pasted,
)
from drawaudio_model.generation.takes import Sampling
from drawaudio_model.generation.windows import window_starts_seconds
from drawaudio_model.griffin_lim import GriffinLimVocoder
from drawaudio_model.guidance import Guidance
from drawaudio_model.levels.limiter import true_peak
from drawaudio_model.mel import log_mel
from drawaudio_model.pipeline import DrawAudioPipeline
from tests.test_long_sounds import steady as steady
from tests.tiny_pipeline import tiny_pipeline

LONG = 30
PLAIN = Sampling(10, Guidance(0.0, None, loudness=None))


@pytest.fixture(scope="module")
def pipe() -> DrawAudioPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def long_take(pipe: DrawAudioPipeline) -> Take:
    return pipe(prompt="a bell rings", seconds=LONG, num_inference_steps=2, seed=1, keep_latents=True).take()


@pytest.mark.parametrize(("start", "end"), [(13.3, 14.7), (0.0, 1.0), (28.5, 30.0), (3.9, 20.1)])
def test_samples_and_latents_outside_are_bit_equal_in_a_long_sound(
    pipe: DrawAudioPipeline, long_take: Take, start: float, end: float
) -> None:
    prepared = pipe.prepare(prompt="rain falls", seconds=LONG, section=(start, end))
    result = pipe.regenerate(long_take, prepared, start, end, seeds=[7], sampling=Sampling(2))
    before, after = long_take.waveform, result.audios[0]
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    assert before.dtype == after.dtype and before.shape == after.shape
    assert before[:first].tobytes() == after[:first].tobytes() and before[last:].tobytes() == after[last:].tobytes()
    inside = slice(first, last)
    assert np.abs(before[inside] - after[inside]).mean() > 0.1 * np.abs(before[inside]).mean()
    frames = slice(*Section(start, end, LONG, pipe.latent_frames).frames)
    kept = torch.ones(long_take.latents.shape[1], dtype=torch.bool)
    kept[frames] = False
    assert torch.equal(result.latents[0][:, kept], long_take.latents[:, kept])
    assert (result.latents[0][:, ~kept] - long_take.latents[:, ~kept]).abs().mean() > 0.1
    assert result.seeds == [7] and result.take().latents.shape == long_take.latents.shape


def test_only_the_windows_that_touch_the_section_are_sampled_however_long_the_rest(pipe: DrawAudioPipeline) -> None:
    rows, decoded = [], []
    hooks = [
        pipe.unet.register_forward_hook(lambda *_: rows.append(1)),
        pipe.vae.decoder.register_forward_hook(lambda *_: decoded.append(1)),
    ]
    costs = []
    for seconds in (20, 80):
        take = Take(
            np.full(seconds * SAMPLE_RATE, 0.01, np.float32), torch.zeros(4, pipe.latent_frames * seconds // 8, 8)
        )
        prepared = pipe.prepare(prompt="rain falls", seconds=seconds, section=(9.0, 10.0))
        rows.clear(), decoded.clear()
        pipe.regenerate(take, prepared, 9.0, 10.0, seeds=[7], sampling=Sampling(3))
        costs.append((len(rows), len(decoded)))
    for hook in hooks:
        hook.remove()
    # Those that start at 4 and at 8 s hold second 9 to 10.
    assert costs == [(3 * 2, 2)] * 2


def test_a_section_prepared_alone_is_the_one_of_the_whole_preparation(pipe: DrawAudioPipeline, long_take: Take) -> None:
    asked = {"prompt": "rain falls", "seconds": LONG, "loudness": [(0, 0.1), (LONG, 0.3)]}
    alone = pipe.prepare(**asked, section=(13.3, 14.7))
    sounds = [
        pipe.regenerate(long_take, prepared, 13.3, 14.7, seeds=[7], sampling=Sampling(2))
        for prepared in (alone, pipe.prepare(**asked))
    ]
    assert sounds[0].audios.tobytes() == sounds[1].audios.tobytes() and sounds[0].scores == sounds[1].scores


def test_what_is_sampled_goes_on_from_what_is_kept() -> None:
    """Of sounds whose frames are all alike, whatever they are: with half of them kept, the others become like those."""
    trained = DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
    frames = 32

    def predict(_: int, part: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The noise, known exactly: the frames' one value is normally distributed."""
        share = trained.alphas_cumprod[timestep]
        value = share.sqrt() * part.sum(dim=2, keepdim=True) / (1 - share + share * frames)
        return (part - share.sqrt() * value) / (1 - share).sqrt()

    kept = torch.ones(frames, dtype=torch.bool)
    kept[10:20] = False
    for value in (-1.5, 0.7, 2.0):
        given = Given(torch.full((1, frames, 1), value), kept=kept)
        latents = denoise(
            predict,
            starting_noise([3], (1, frames, 1), torch.device("cpu")),
            trained=trained,
            solver=sampling_solver(trained, 25, torch.device("cpu")),
            first_frames=[0],
            window_frames=frames,
            given=given,
            on_step=lambda _step, _timestep, latents: latents,
        )[0, 0, :, 0]
        assert torch.equal(latents[kept], torch.full((22,), value))
        assert (latents[~kept] - value).abs().max() < 0.3, latents


def test_a_section_joins_the_rest_better_than_another_take_would(steady: DrawAudioPipeline) -> None:
    settings = {"prompt": "a bell rings", "num_inference_steps": 10, "guidance_text": 0.0, "keep_latents": True}
    first, other = (steady(**settings, seed=seed).latents[0] for seed in (1, 2))
    take, prepared = Take(steady.decode(first[None])[0], first), steady.prepare(prompt="a bell rings")
    jumps, spliced = [], []
    for start, end in ((3.04, 5.04), (2.0, 3.6), (5.2, 6.4)):
        result = steady.regenerate(take, prepared, start, end, seeds=[2], sampling=PLAIN)
        begin, stop = Section(start, end, 8.0, 100).frames
        cut = first.clone()
        cut[:, begin:stop] = other[:, begin:stop]
        for found, latents in ((jumps, result.latents[0]), (spliced, cut)):
            found += [float(latents[:, place - 1 : place + 1].diff(dim=1).abs().mean()) for place in (begin, stop)]
    assert np.mean(jumps) < np.mean(spliced)


def test_seams_are_inaudible_by_number_and_at_the_level_of_the_rest(steady: DrawAudioPipeline) -> None:
    steady.vocoder = GriffinLimVocoder(iterations=4)
    first = steady(prompt="a bell rings", num_inference_steps=10, guidance_text=0.0, seed=1, keep_latents=True)
    quiet = Take(first.audios[0] * np.float32(0.25), first.latents[0])  # turned down since, as in a mix
    result = steady.regenerate(quiet, steady.prepare(prompt="a bell rings"), 3.0, 5.0, seeds=[2], sampling=PLAIN)
    sound = result.audios[0]
    jumps = np.abs(np.diff(log_mel(sound).numpy(), axis=0)).mean(axis=1)
    usual = float(np.median(np.abs(np.diff(log_mel(quiet.waveform).numpy(), axis=0)).mean(axis=1)))
    width, reach = SAMPLE_RATE // 2, round(FADE_SECONDS * 100)
    changed = np.flatnonzero(sound != quiet.waveform) * 100 // SAMPLE_RATE
    sides = slice(changed[0] - 2, changed[0] + reach + 2), slice(changed[-1] - reach - 2, changed[-1] + 2)
    for seam, side in zip((3.0, 5.0), sides, strict=True):
        place = round(seam * SAMPLE_RATE)
        levels = [
            np.sqrt(np.mean(sound[part].astype(float) ** 2))
            for part in (slice(place - width, place), slice(place, place + width))
        ]
        assert abs(20 * np.log10(levels[0] / levels[1])) < 1.5
        assert float(np.median(jumps[side])) < 1.3 * usual


def test_a_plain_sound_is_gone_on_from_as_well(pipe: DrawAudioPipeline, long_take: Take) -> None:
    prepared = pipe.prepare(prompt="rain falls", seconds=LONG, section=(13.3, 14.7))
    result = pipe.regenerate(long_take.waveform, prepared, 13.3, 14.7, seeds=[7], sampling=Sampling(2))
    assert result.latents is None
    first = round(13.3 * SAMPLE_RATE)
    assert result.audios[0][:first].tobytes() == long_take.waveform[:first].tobytes()
    assert not np.array_equal(result.audios[0], long_take.waveform)


def test_other_rates_keep_their_samples(pipe: DrawAudioPipeline, long_take: Take) -> None:
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(LONG * 48000) / 48000)).astype(np.float32)
    take = Take(tone, long_take.latents, sample_rate=48000)
    assert (
        np.abs(excerpt(take, (8, 16)) - 0.3 * np.sin(2 * np.pi * 440 * np.arange(8 * 16000, 16 * 16000) / 16000)).max()
        < 1e-3
    )
    assert excerpt(take, (24, 32)).shape == (8 * SAMPLE_RATE,) and not excerpt(take, (24, 32))[-SAMPLE_RATE:].any()
    prepared = pipe.prepare(prompt="rain falls", seconds=LONG, section=(9.0, 10.0))
    result = pipe.regenerate(take, prepared, 9.0, 10.0, seeds=[7], sampling=Sampling(2))
    assert result.sample_rate == 48000 and result.audios[0].shape == tone.shape
    assert np.array_equal(result.audios[0][: 9 * 48000], tone[: 9 * 48000])
    assert np.array_equal(result.audios[0][10 * 48000 :], tone[10 * 48000 :])
    assert np.abs(result.audios[0] - tone).max() > 0.01


def test_strength_says_how_far_the_section_goes(pipe: DrawAudioPipeline, long_take: Take) -> None:
    prepared = pipe.prepare(prompt="rain falls", seconds=LONG, section=(9.0, 10.0))
    moved = []
    for strength in (0.0, 0.5, 1.0):
        result = pipe.regenerate(long_take, prepared, 9.0, 10.0, seeds=[7], sampling=Sampling(4), strength=strength)
        moved.append(float((result.latents[0] - long_take.latents).abs().mean()))
    assert moved[0] == 0 < moved[1] < moved[2]


def test_a_section_beyond_full_scale_is_limited_and_the_rest_left_alone(
    pipe: DrawAudioPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Take(np.full(8 * SAMPLE_RATE, 0.01, np.float32), torch.zeros(4, 100, 8))
    loud = 3 * np.sin(2 * np.pi * 440 * np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    # A model that shouts; what it makes beside the section is as loud, so nothing turns it down.
    monkeypatch.setattr(pipe, "decode", lambda *_given, **_named: loud[None])
    monkeypatch.setattr("drawaudio_model.generation.takes.level_of_neighbours", lambda made, *_: made)
    result = pipe.regenerate(take, pipe.prepare(prompt="rain falls"), 3.0, 4.0, seeds=[1], sampling=Sampling(1))
    assert any(sentence.startswith("the new section: the sound peaks at +9.5 dB") for sentence in result.notices)
    assert 0.8 < true_peak(result.audios[0]) < 0.95
    assert np.array_equal(result.audios[0][: 3 * SAMPLE_RATE], take.waveform[: 3 * SAMPLE_RATE])


def test_two_sounds_fade_without_a_dip_or_a_swell() -> None:
    rng = np.random.default_rng(0)
    before, unlike = rng.normal(0, 0.1, (2, 8 * SAMPLE_RATE)).astype(np.float32)
    section = Section(2.0, 4.0, 8.0, 100)
    for made in (before, unlike):
        out = pasted(Take(before), made, 0, section)
        ends = slice(2 * SAMPLE_RATE, round((2 + FADE_SECONDS + PLACE_SECONDS) * SAMPLE_RATE))
        for start in range(ends.start, ends.stop, SAMPLE_RATE // 20):
            assert abs(20 * np.log10(np.std(out[start : start + SAMPLE_RATE // 20]) / 0.1)) < 1.2
        middle = slice(round(2.5 * SAMPLE_RATE), round(3.5 * SAMPLE_RATE))
        assert np.array_equal(out[middle], made[middle])
    assert np.abs(pasted(Take(before), before, 0, section) - before).max() < 1e-6


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 48_000])
def test_a_fade_lies_where_the_sounds_are_alike(rate: int) -> None:
    """A tone that both have, and a hiss that one of them has, but for a quarter of a second near either end."""
    rng = np.random.default_rng(0)
    seconds = np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
    tone, hiss = 0.2 * np.sin(2 * np.pi * 500 * seconds), rng.normal(0, 0.1, len(seconds))
    begin, end = 2.0, 5.0
    alike = ((seconds > begin + 0.25) & (seconds < begin + 0.5)) | ((seconds > end - 0.5) & (seconds < end - 0.25))
    before, made = (tone + np.where(alike, hiss / 100, hiss)).astype(np.float32), tone.astype(np.float32)
    whole = before if rate == SAMPLE_RATE else soxr.resample(before, SAMPLE_RATE, rate, quality="VHQ")
    out = pasted(Take(whole, sample_rate=rate), made, 0, Section(begin, end, 8.0, 100))
    changed = np.flatnonzero(out != whole) / rate
    assert begin + 0.2 < changed[0] < begin + 0.31 and end - 0.31 < changed[-1] < end - 0.2
    # Of a short section nearly nothing may be left out.
    short = pasted(Take(whole, sample_rate=rate), made, 0, Section(2.0, 2.4, 8.0, 100))
    changed = np.flatnonzero(short != whole) / rate
    assert changed[0] - 2.0 < 0.051 and 2.4 - changed[-1] < 0.051


def test_latents_near_the_ends_are_let_go_of_one_after_the_other() -> None:
    kept = Section(2.0, 6.0, 8.0, 100).kept(0, 100)
    assert (kept[:25] == 1).all() and (kept[75:] == 1).all() and (kept[29:71] == 0).all()
    assert kept[25:29].tolist() == pytest.approx([0.8, 0.6, 0.4, 0.2]) and kept[71:75].tolist() == pytest.approx(
        [0.2, 0.4, 0.6, 0.8]
    )
    # At the ends of the sound there is nothing to go on from.
    whole = Section(0.0, 8.0, 8.0, 100).kept(0, 100)
    assert (whole == 0).all()
    assert Section(9.0, 10.0, 30.0, 100).kept(50, 200).sum() == pytest.approx(150 - 12.5 + 4, abs=1)


def test_the_gain_of_the_rest_is_the_section_s_and_silence_says_nothing() -> None:
    made = np.random.default_rng(0).normal(0, 0.1, 8 * SAMPLE_RATE).astype(np.float32)
    kept = np.where(np.arange(len(made)) < 4 * SAMPLE_RATE, made * 0.5, made * 0.125).astype(np.float32)
    start, end = 3 * SAMPLE_RATE, 5 * SAMPLE_RATE
    levelled = level_of_neighbours(made, kept, start, end)
    assert levelled[start] / made[start] == pytest.approx(0.5, rel=1e-3)
    assert levelled[end] / made[end] == pytest.approx(0.25, rel=1e-2)  # 12 dB: more is another sound
    assert levelled[4 * SAMPLE_RATE] / made[4 * SAMPLE_RATE] == pytest.approx(np.sqrt(0.5 * 0.25), rel=1e-2)
    assert np.array_equal(level_of_neighbours(made, np.zeros_like(made), start, end), made)


def test_windows_of_a_section_cover_it_and_no_more() -> None:
    for start, end in ((0.0, 0.1), (3.9, 4.1), (7.99, 8.0), (29.9, 30.0), (0.0, 30.0)):
        section = Section(start, end, 30.0, 100)
        chosen = section.window_starts(4)
        every = window_starts_seconds(30.0, 100, 4)
        first, last = section.frames
        assert chosen == tuple(s for s in every if s * 100 // 8 < last and s * 100 // 8 + 100 > first) != ()
        assert chosen[0] * 100 // 8 <= first and chosen[-1] * 100 // 8 + 100 >= last
        # Sampled alone, they are windows as a sound of their length has them.
        span = chosen[-1] + 8 - chosen[0]
        assert tuple(s - chosen[0] for s in chosen) == window_starts_seconds(span, 100, 4)


def test_what_does_not_belong_together_is_named(pipe: DrawAudioPipeline, long_take: Take) -> None:
    prepared = pipe.prepare(prompt="rain falls", seconds=LONG, section=(9.0, 10.0))
    for section in ((10.0, 9.0), (9.0, 9.0), (-1.0, 2.0), (29.0, 31.0)):
        with pytest.raises(ValueError, match=rf"the section goes from {section[0]:g} to {section[1]:g} s"):
            pipe.regenerate(long_take, prepared, *section)
    with pytest.raises(ValueError, match=r"needs the windows at \(16, 20\) s, and those at \(4, 8\) s were prepared"):
        pipe.regenerate(long_take, prepared, 20.5, 21.0)
    with pytest.raises(ValueError, match=r"at 16000 Hz, expected one channel of 30.0000 s"):
        pipe.regenerate(long_take.waveform[:-2], prepared, 9.0, 10.0)
    with pytest.raises(ValueError, match=r"latents have shape \(3, 375, 8\), expected \(4, 375, 8\); another model"):
        pipe.regenerate(Take(long_take.waveform, long_take.latents[:3]), prepared, 9.0, 10.0)
    with pytest.raises(ValueError, match="windows overlap by 2 s, and 4 s were prepared"):
        pipe.regenerate(Take(long_take.waveform, long_take.latents, 2), prepared, 9.0, 10.0)
    with pytest.raises(ValueError, match=r"strength is 2, expected 0"):
        pipe.regenerate(long_take, prepared, 9.0, 10.0, strength=2)


def test_a_fade_does_not_swell_beyond_full_scale_and_nothing_else_is_turned_down() -> None:
    rng = np.random.default_rng(0)
    old, new = (np.sign(rng.standard_normal(8 * SAMPLE_RATE)).astype(np.float32) * 0.99 for _ in range(2))
    out = pasted(Take(old), new, 0, Section(2.0, 4.0, 8.0, 100))
    assert np.abs(out).max() <= 1.0
    np.testing.assert_array_equal(out[: 2 * SAMPLE_RATE], old[: 2 * SAMPLE_RATE])
    np.testing.assert_array_equal(out[4 * SAMPLE_RATE :], old[4 * SAMPLE_RATE :])
    reach = round((FADE_SECONDS + PLACE_SECONDS) * SAMPLE_RATE)
    inside = slice(2 * SAMPLE_RATE + reach, 4 * SAMPLE_RATE - reach)
    np.testing.assert_array_equal(out[inside], new[inside])
