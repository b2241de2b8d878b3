"""Metrics against SciPy and scikit-style references, closed forms and known onsets."""

import librosa
import numpy as np
import pytest
from scipy import linalg, optimize, stats

from drawaudio_model import metrics
from drawaudio_model.clip_format import CLIP_SAMPLES, LOUDNESS_POINTS, SAMPLE_RATE


def clicks(times: list[float], *, level: float = 0.5) -> np.ndarray:
    """8 s of quiet noise with short decaying bursts at the given seconds."""
    rng = np.random.default_rng(3)
    waveform = 1e-4 * rng.standard_normal(CLIP_SAMPLES)
    burst = level * np.exp(-np.arange(2000) / 300) * rng.standard_normal(2000)
    for time in times:
        start = round(time * SAMPLE_RATE)
        waveform[start : start + 2000] += burst[: CLIP_SAMPLES - start]
    return waveform.astype(np.float32)


def frechet_by_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(first @ second)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root.real))


def test_frechet_distance_equals_scipys_matrix_root() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((300, 12)) @ rng.standard_normal((12, 12)) + 1
    b = rng.standard_normal((250, 12)) @ rng.standard_normal((12, 12))
    assert metrics.frechet_distance(a, b) == pytest.approx(frechet_by_sqrtm(a, b), rel=1e-6)


def test_frechet_distance_is_right_with_fewer_samples_than_features() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((6, 40)), rng.standard_normal((9, 40)) + 0.5
    rotation = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    value = metrics.frechet_distance(a, b)
    # The eigenvalues of S1 S2 by another route; the product is singular here, where sqrtm loses digits.
    spectrum = np.linalg.eigvals(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    trace = np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False)) - 2 * np.sqrt(np.maximum(spectrum, 0)).sum()
    assert value == pytest.approx(((a.mean(0) - b.mean(0)) ** 2).sum() + trace, rel=1e-5)
    assert metrics.frechet_distance(a @ rotation, b @ rotation) == pytest.approx(value, rel=1e-9)


def test_frechet_distance_of_equal_sets_is_zero_and_of_a_shift_its_square() -> None:
    features = np.random.default_rng(2).standard_normal((50, 7))
    assert metrics.frechet_distance(features, features) == pytest.approx(0, abs=1e-10)
    assert metrics.frechet_distance(features, features + 2) == pytest.approx(7 * 4, rel=1e-9)


def test_frechet_distance_refuses_one_sample_and_other_extractors() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        metrics.frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="same extractor"):
        metrics.frechet_distance(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="not finite"):
        metrics.frechet_distance(np.full((4, 3), np.nan), np.zeros((4, 3)))


def test_inception_score_is_one_for_equal_posteriors_and_the_class_count_for_certain_ones() -> None:
    certain = np.tile(np.eye(4), (10, 1))
    assert metrics.inception_score(certain, splits=10).mean == pytest.approx(4)
    assert metrics.inception_score(np.full((20, 4), 0.25)).mean == pytest.approx(1)
    posteriors = np.random.default_rng(0).dirichlet(np.ones(5), 40)
    parts = [np.exp(np.mean([stats.entropy(p, part.mean(0)) for p in part])) for part in np.split(posteriors, 4)]
    assert metrics.inception_score(posteriors, splits=4) == pytest.approx((np.mean(parts), np.std(parts)))
    with pytest.raises(ValueError, match="splits"):
        metrics.inception_score(posteriors, splits=41)
    with pytest.raises(ValueError, match="softmax"):
        metrics.inception_score(posteriors * 2)


def test_kl_divergence_equals_scipys_entropy_in_the_direction_real_from_generated() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.dirichlet(np.ones(6), 30), rng.dirichlet(np.ones(6), 30)
    assert metrics.kl_divergence(real, made) == pytest.approx(stats.entropy(real, made, axis=1).mean(), rel=1e-3)
    assert metrics.kl_divergence(real, real) == pytest.approx(0, abs=1e-12)
    assert metrics.kl_divergence(np.eye(2), np.eye(2)[::-1]) == pytest.approx(np.log(1e6))
    with pytest.raises(ValueError, match="one row per clip"):
        metrics.kl_divergence(real, made[:3])


def test_clip_score_is_a_hundred_times_the_cosine_whatever_the_lengths() -> None:
    audio = np.array([[3.0, 0.0], [0.0, 2.0]])
    pictures = np.array([[[1.0, 0.0], [0.0, 5.0]], [[1.0, 1.0], [0.0, -1.0]]])
    assert metrics.clip_score(audio, pictures) == pytest.approx(100 * np.mean([0.5, (np.sqrt(0.5) - 1) / 2]))
    with pytest.raises(ValueError, match="two towers"):
        metrics.clip_score(audio, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="length zero"):
        metrics.clip_score(np.zeros((2, 2)), pictures)


def test_loudness_correlation_equals_scipys_and_is_undefined_for_constants() -> None:
    rng = np.random.default_rng(0)
    commanded = rng.random(LOUDNESS_POINTS)
    measured = commanded**2 + 0.1 * rng.random(LOUDNESS_POINTS)
    value = metrics.loudness_correlation(commanded, measured)
    assert value.pearson == pytest.approx(stats.pearsonr(commanded, measured)[0])
    assert value.spearman == pytest.approx(stats.spearmanr(commanded, measured)[0])
    assert metrics.loudness_correlation(commanded, -commanded).pearson == pytest.approx(-1)
    assert np.isnan(metrics.loudness_correlation(np.ones(9), rng.random(9))).all()
    # A sound that does not move has not followed a command that does.
    assert metrics.loudness_correlation(rng.random(9), np.zeros(9)) == (0, 0)
    with pytest.raises(ValueError, match="equal length"):
        metrics.loudness_correlation(commanded, measured[:-1])


def test_loudness_error_forgets_the_level_and_counts_decibels() -> None:
    curve = np.linspace(0.1, 1, LOUDNESS_POINTS)
    assert metrics.loudness_error_db(curve, 0.03 * curve) == pytest.approx(0, abs=1e-9)
    # Every fourth point 6 dB down: the shift stays with the majority, a quarter of the points is off by 6.02 dB.
    dented = np.where(np.arange(LOUDNESS_POINTS) % 4 == 1, curve / 2, curve)
    assert metrics.loudness_error_db(curve, dented) == pytest.approx(20 * np.log10(2) / 4, rel=1e-6)
    silent = np.zeros(LOUDNESS_POINTS)
    assert metrics.loudness_error_db(curve, silent) == 40
    assert np.isnan(metrics.loudness_error_db(silent, curve))
    half = np.where(np.arange(LOUDNESS_POINTS) < 30, 1.0, 0.0)
    assert metrics.loudness_error_db(half, np.ones(LOUDNESS_POINTS)) == pytest.approx(40 * 30 / LOUDNESS_POINTS)
    with pytest.raises(ValueError, match="negative"):
        metrics.loudness_error_db(curve, -curve)


def test_lag_finds_a_known_shift_in_both_directions() -> None:
    curve = np.random.default_rng(0).random(LOUDNESS_POINTS)
    assert metrics.lag_seconds(curve, np.roll(curve, 3)) == pytest.approx(0.3)
    assert metrics.lag_seconds(curve, np.roll(curve, -7)) == pytest.approx(-0.7)
    assert metrics.lag_seconds(curve, curve) == 0
    assert metrics.lag_seconds(curve, np.ones(LOUDNESS_POINTS)) == 1
    assert np.isnan(metrics.lag_seconds(np.ones(LOUDNESS_POINTS), curve))
    with pytest.raises(ValueError, match="max_lag_seconds"):
        metrics.lag_seconds(curve, curve, max_lag_seconds=5)


def test_onsets_are_found_where_the_clicks_are() -> None:
    times = [0.7, 1.6, 3.25, 5.0, 7.1]
    found = metrics.onset_times(clicks(times))
    assert found == pytest.approx(times, abs=0.03)
    score = metrics.onset_f1(clicks(times), clicks([0.75, 1.55, 3.5, 5.05]))
    assert (score.hits, score.reference_count, score.generated_count) == (3, 5, 4)
    assert score.f1 == pytest.approx(6 / 9)
    with pytest.raises(ValueError, match="finite"):
        metrics.onset_times(np.full(100, np.nan))


def test_onset_matching_is_one_to_one_and_as_large_as_can_be() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        reference, generated = rng.random(8) * 2, rng.random(11) * 2
        near = np.abs(reference[:, None] - generated[None]) <= 0.1
        rows, columns = optimize.linear_sum_assignment(near, maximize=True)
        assert metrics.match_onsets(reference, generated).hits == near[rows, columns].sum()
    assert metrics.match_onsets([1.0], [1.0, 1.05]).precision == 0.5
    assert metrics.match_onsets([], []).f1 == 1
    assert metrics.match_onsets([], [1.0]).f1 == 0 and metrics.match_onsets([1.0], []).f1 == 0


def test_bootstrap_interval_covers_the_mean_and_leaves_undefined_values_out() -> None:
    values = np.random.default_rng(0).normal(3, 1, 200)
    interval = metrics.bootstrap_interval([*values, float("nan")])
    assert interval.count == 200 and interval.value == pytest.approx(values.mean())
    half_width = 1.96 * values.std() / np.sqrt(200)
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.03)
    assert metrics.bootstrap_interval(values) == metrics.bootstrap_interval(values)
    assert metrics.bootstrap_interval([float("nan")]).count == 0
    with pytest.raises(ValueError, match="level"):
        metrics.bootstrap_interval(values, level=95)


@pytest.mark.parametrize(("right", "count"), [(0, 5), (5, 5), (48, 48), (500, 500), (3, 12), (47, 48)])
def test_the_interval_of_a_share_is_wilsons(right: int, count: int) -> None:
    interval = metrics.mean_interval([1.0] * right + [0.0] * (count - right) + [float("nan")])
    expected = stats.binomtest(right, count).proportion_ci(0.95, "wilson")
    assert interval.value == right / count and interval.count == count
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert interval.low <= interval.value <= interval.high and interval.high - interval.low > 0


def test_the_interval_of_a_mean_that_is_no_share_is_resampled() -> None:
    values = np.random.default_rng(0).random(40)
    assert metrics.mean_interval(values, seed=3) == metrics.bootstrap_interval(values, seed=3)
    assert metrics.mean_interval([float("nan")]).count == 0


def test_bootstrap_of_a_statistic_of_sets_is_that_of_the_resampled_sets() -> None:
    values = np.random.default_rng(0).normal(3, 1, 200)
    interval = metrics.bootstrap_statistic(lambda places: float(values[places].mean()), 200, seed=1)
    half_width = 1.96 * values.std() / np.sqrt(200)
    assert interval.value == pytest.approx(values.mean()) and interval.count == 200
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.03)
    # Drawing with repetitions leaves fewer different clips, which makes a Frechet distance larger: the interval is of the
    # spread alone and lies around the value.
    real, made = np.random.default_rng(1).normal(size=(2, 20, 30))
    distance = metrics.bootstrap_statistic(
        lambda places: metrics.frechet_distance(real[places], made[places]), 20, resamples=50
    )
    drawn = np.random.default_rng(0).integers(0, 20, (50, 20))
    assert min(metrics.frechet_distance(real[places], made[places]) for places in drawn) > distance.value
    assert distance.low < distance.value < distance.high
    with pytest.raises(ValueError, match="no clip"):
        metrics.bootstrap_statistic(lambda places: 0.0, 0)


def test_envelope_l1_of_steady_tones_is_the_difference_of_their_rms() -> None:
    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
    # 500 Hz: sixteen whole periods in a frame of 512 samples.
    tone = np.sin(2 * np.pi * 500 * time)
    assert metrics.envelope_l1(0.5 * tone, 0.2 * tone) == pytest.approx(0.3 / np.sqrt(2), rel=2e-3)
    assert metrics.envelope_l1(tone, tone) == 0
    rng = np.random.default_rng(0)
    first, second = 0.1 * rng.standard_normal((2, 4000))
    frames = [np.pad(wave, 192, mode="reflect") for wave in (first, second)]
    rms = [
        [np.sqrt(np.mean(wave[start : start + 512] ** 2)) for start in range(0, len(wave) - 511, 128)]
        for wave in frames
    ]
    assert metrics.envelope_l1(first, second) == pytest.approx(np.abs(np.subtract(*rms)).mean(), rel=1e-4)
    with pytest.raises(ValueError, match="equal length"):
        metrics.envelope_l1(first, second[:-1])


def test_silence_is_judged_where_the_curve_is_silent() -> None:
    commanded = np.where(np.arange(LOUDNESS_POINTS) < 20, 0.0, 0.3)
    loud_everywhere = np.full(LOUDNESS_POINTS, 0.2)
    assert metrics.silence_db(commanded, loud_everywhere) == pytest.approx(0)
    obeying = np.where(commanded > 0, 0.2, 0.002)
    assert metrics.silence_db(commanded, obeying) == pytest.approx(-40)
    assert metrics.silence_db(commanded, np.where(commanded > 0, 0.2, 0.0)) == -80
    # 39 dB below the peak is quiet, not silent.
    assert np.isnan(metrics.silence_db(np.where(commanded > 0, 0.3, 0.3 * 10 ** (-39 / 20)), obeying))
    assert np.isnan(metrics.silence_db(np.full(LOUDNESS_POINTS, 0.3), obeying))
    assert metrics.silence_db(commanded, np.zeros(LOUDNESS_POINTS)) == 0
    assert metrics.silence_db(commanded, np.where(commanded > 0, 0.0, 0.2)) == 80
    with pytest.raises(ValueError, match="floor_db"):
        metrics.silence_db(commanded, obeying, floor_db=3)


@pytest.mark.parametrize(("height", "counts"), [(0.27, False), (0.33, True)])
def test_an_onset_must_stand_out_by_three_tenths_of_the_strongest(height: float, counts: bool) -> None:
    """Above the mean of the tenth of a second on each side; the level of a click that does so is found by bisection."""

    def heard(level: float) -> tuple[float, np.ndarray]:
        waveform = clicks([1.0, 6.0]) + clicks([3.5], level=level) - clicks([])
        flux = librosa.onset.onset_strength(y=waveform, sr=SAMPLE_RATE, hop_length=160)
        strength = (flux - flux.min()) / (flux - flux.min()).max()
        peak = 330 + int(strength[330:370].argmax())
        return float(strength[peak] - strength[peak - 10 : peak + 11].mean()), metrics.onset_times(waveform)

    low, high = 1e-5, 0.5
    for _ in range(20):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if heard(middle)[0] < height else (low, middle)
    reached, found = heard(low)
    assert reached == pytest.approx(height, abs=0.002)
    assert found == pytest.approx([1.0, 3.5, 6.0] if counts else [1.0, 6.0], abs=0.03)
