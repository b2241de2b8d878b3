"""The demo world: what is seen, what is heard and what the truth says are one and the same."""

import io
import json
from collections import Counter
from dataclasses import replace

import av
import numpy as np
import pytest

from drawaudio_model.clip_format import FRAME_SIZE, SAMPLE_RATE, SOURCE_SAMPLES, SOURCE_SECONDS, SOURCE_VIDEO_FRAMES
from pipelines.sources.demo import world as demo
from pipelines.sources.demo.drawing import Canvas, backdrop
from pipelines.sources.demo.language import WORDINGS_PER_CLIP, phrase_vocabulary, plain
from pipelines.sources.demo.objects import (
    FIRST_SECONDS,
    KINDS,
    LAST_SECONDS,
    SceneObject,
    ball_height,
    nearness,
    onsets,
)
from pipelines.sources.demo.pictures import draw_object, draw_prop
from pipelines.sources.demo.sounds import render_stem


@pytest.fixture(scope="module")
def corpus() -> list[demo.DemoClip]:
    return demo.list_clips(train=160, val=0, test=0, seed=5)


@pytest.fixture(scope="module")
def one_each(corpus: list[demo.DemoClip]) -> dict[str, demo.DemoClip]:
    return {kind: next(clip for clip in corpus if clip.label == kind) for kind in KINDS}


@pytest.fixture(scope="module")
def pair(corpus: list[demo.DemoClip]) -> demo.DemoClip:
    """A ball that is meant, another sounding object that is not, and a silent one."""
    return next(
        clip
        for clip in corpus
        if clip.label == "ball" and len(clip.objects) >= 3 and clip.objects[1].active and not clip.objects[2].active
    )


@pytest.fixture(scope="module")
def rendered_pair(pair: demo.DemoClip) -> demo.RenderedClip:
    return demo.render_clip(pair)


def _stage(clip: demo.DemoClip) -> Canvas:
    canvas = Canvas(backdrop(np.random.default_rng(clip.backdrop_seed)))
    for thing in clip.objects:
        draw_prop(canvas, thing)
    canvas.keep()
    return canvas


def _decode_audio(media: bytes) -> np.ndarray:
    """The audio track at SAMPLE_RATE; its first sample is at time 0."""
    with av.open(io.BytesIO(media)) as container:
        blocks = list(container.decode(audio=0))
    assert blocks[0].pts == 0
    return np.concatenate([block.to_ndarray() for block in blocks], axis=1)[0][:: demo.AUDIO_RATE // SAMPLE_RATE]


def test_corpus_is_balanced_over_at_least_eight_kinds(corpus: list[demo.DemoClip]) -> None:
    assert len(KINDS) >= 8
    assert set(Counter(clip.label for clip in corpus).values()) == {len(corpus) // len(KINDS)}
    assert len({clip.key for clip in corpus}) == len(corpus)
    assert len({clip.caption for clip in corpus}) > 80
    assert {sum(thing.active for thing in clip.objects) for clip in corpus} == {1, 2}
    assert sum(not thing.active for clip in corpus for thing in clip.objects) > 80


def test_events_follow_each_other_inside_the_clip() -> None:
    for clip in demo.list_clips(train=400, val=0, test=0, seed=8):
        for thing in clip.objects:
            moments = [moment for event in thing.events for moment in (event.start_seconds, event.end_seconds)]
            assert moments == sorted(moments)
            if thing.active:
                assert FIRST_SECONDS <= moments[0] < moments[-1] <= LAST_SECONDS
                assert max(event.level for event in thing.events) == 1
                assert min(event.level for event in thing.events) > 0


def test_caption_names_the_target_and_no_other_object(corpus: list[demo.DemoClip]) -> None:
    vocabulary = phrase_vocabulary()
    for clip in corpus:
        assert clip.objects[0].kind == clip.label
        assert clip.objects[0].phrase in clip.caption
        assert all(thing.phrase in vocabulary for thing in clip.objects)
        assert not any(thing.phrase.split()[-1] in clip.caption.split() for thing in clip.objects[1:])
        assert len({thing.kind for thing in clip.objects}) == len(clip.objects)


def test_wordings_are_others_than_the_caption_and_differ_from_clip_to_clip(corpus: list[demo.DemoClip]) -> None:
    for clip in corpus:
        words = {plain(wording) for wording in (clip.caption, *clip.wordings)}
        assert len(words) == 1 + WORDINGS_PER_CLIP
    wordings = [wording for clip in corpus for wording in clip.wordings]
    assert len(set(wordings)) > 0.9 * len(wordings)


def test_adding_clips_changes_none(corpus: list[demo.DemoClip]) -> None:
    few = demo.list_clips(train=11, val=3, test=2, seed=5)
    more = demo.list_clips(train=30, val=9, test=17, seed=5)
    assert few[:11] == more[:11] == corpus[:11]
    assert few[11:14] == more[30:33]
    assert few[14:] == more[39:41]
    assert demo.list_clips(train=11, val=3, test=2, seed=6)[0] != few[0]


def test_same_bytes_in_this_and_in_other_processes(
    corpus: list[demo.DemoClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [demo.render_clip(clip) for clip in corpus[:5]]
    # Nor do they depend on what lay in the memory before: glibc fills it for the other processes.
    monkeypatch.setenv("MALLOC_PERTURB_", "1")
    there = list(demo.render_clips(corpus[:5], processes=2))
    for ours, theirs in zip(here, there, strict=True):
        assert ours.media == theirs.media
        assert ours.truth.to_json() == theirs.truth.to_json()
        assert all(np.array_equal(a, b) for a, b in zip(ours.stems, theirs.stems, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_energy_rises_at_every_onset(one_each: dict[str, demo.DemoClip], kind: str) -> None:
    thing = one_each[kind].objects[0]
    stem, starts = render_stem(thing).astype(np.float64), [round(t * SAMPLE_RATE) for t, _ in onsets(thing)]
    assert len(starts) >= 1
    assert not stem[: starts[0]].any()
    assert stem[starts[0] : starts[0] + 32].any()
    window = SAMPLE_RATE // 20
    for start in starts:
        before, after = (np.mean(stem[s : s + window] ** 2) for s in (start - window, start))
        assert after > 1.5 * before


def test_louder_events_sound_louder(one_each: dict[str, demo.DemoClip]) -> None:
    ball = one_each["ball"].objects[0]
    stem = render_stem(ball)
    levels = np.array([level for _, level in onsets(ball)])
    starts = [round(seconds * SAMPLE_RATE) for seconds, _ in onsets(ball)]
    peaks = np.array([np.abs(stem[start : start + 800]).max() for start in starts])
    np.testing.assert_allclose(peaks, ball.peak * levels**1.5, rtol=0.1)
    car = one_each["car"].objects[0]
    power = (render_stem(car).astype(np.float64) ** 2).reshape(-1, SAMPLE_RATE // 10).mean(axis=1)
    near = nearness(car, (np.arange(len(power)) + 0.5) / 10)
    assert np.corrcoef(np.sqrt(power), near)[0, 1] > 0.9


def test_stem_peaks_at_its_level_and_rests_between_events(corpus: list[demo.DemoClip]) -> None:
    for clip in corpus[:16]:
        stem = render_stem(clip.objects[0])
        assert stem.shape == (SOURCE_SAMPLES,)
        assert stem.dtype == np.float32
        assert np.abs(stem).max() == pytest.approx(clip.objects[0].peak, rel=1e-5)
        blocks = np.abs(stem).reshape(SOURCE_SECONDS * 10, -1).max(axis=1)
        assert (blocks < 0.03 * blocks.max()).mean() > 0.05


def test_spectrum_alone_tells_the_kinds_apart(corpus: list[demo.DemoClip]) -> None:
    edges = np.concatenate([[0], np.geomspace(60, 8000, 25)]) * SOURCE_SECONDS

    def bands(thing: SceneObject) -> np.ndarray:
        power = np.abs(np.fft.rfft(render_stem(thing))) ** 2
        energy = np.add.reduceat(power, edges[:-1].astype(int))
        return np.sqrt(energy / energy.sum())

    known = {kind: np.mean([bands(c.objects[0]) for c in corpus[:40] if c.label == kind], axis=0) for kind in KINDS}
    guesses = []
    for clip in corpus[40:72]:
        spectrum = bands(clip.objects[0])
        guesses.append(min(KINDS, key=lambda kind: float(np.sum((known[kind] - spectrum) ** 2))) == clip.label)
    assert np.mean(guesses) >= 0.9


def test_ball_obeys_one_gravity_and_thuds_on_the_floor(one_each: dict[str, demo.DemoClip]) -> None:
    clip = one_each["ball"]
    ball = clip.objects[0]
    step, curvatures = 0.01, []
    for event in ball.events:
        middle = (event.start_seconds + event.end_seconds) / 2
        heights = [ball_height(ball, middle + k * step) for k in (-1, 0, 1)]
        curvatures.append((heights[0] - 2 * heights[1] + heights[2]) / step**2)
    np.testing.assert_allclose(curvatures, curvatures[0], rtol=1e-6)
    canvas, floor = _stage(clip), ball.region[3]
    for seconds, level in onsets(ball):
        canvas.begin_box()
        draw_object(canvas, ball, seconds)
        assert canvas.end_box()[3] * FRAME_SIZE == pytest.approx(floor, abs=0.5)
        canvas.begin_box()
        draw_object(canvas, ball, seconds - 0.08)
        assert canvas.end_box()[3] * FRAME_SIZE < floor - 4 * level


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_the_extent_of_what_is_drawn(one_each: dict[str, demo.DemoClip], kind: str) -> None:
    clip = replace(one_each[kind], objects=one_each[kind].objects[:1])
    frames, boxes = demo.draw_clip(clip)
    empty = _stage(clip).pixels().astype(int)
    assert boxes.shape == (1, SOURCE_VIDEO_FRAMES, 4)
    assert boxes.min() >= 0 and boxes.max() <= 1
    every = len(frames) // SOURCE_VIDEO_FRAMES
    for moment, box in enumerate(boxes[0] * FRAME_SIZE):
        changed = np.abs(frames[moment * every].astype(int) - empty).max(axis=2) > 12
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        drawn = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(box, drawn, atol=1.5)
        assert min(box[2] - box[0], box[3] - box[1]) >= 28
        x0, y0, x1, y1 = clip.objects[0].region
        assert box[0] >= x0 - 6 and box[1] >= y0 - 6 and box[2] <= x1 + 6 and box[3] <= y1 + 6


@pytest.mark.parametrize("kind", KINDS)
def test_picture_moves_only_while_something_happens(one_each: dict[str, demo.DemoClip], kind: str) -> None:
    clip = replace(one_each[kind], objects=one_each[kind].objects[:1])
    canvas, thing = _stage(clip), clip.objects[0]

    def picture(seconds: float) -> np.ndarray:
        canvas.clear()
        draw_object(canvas, thing, seconds)
        return canvas.pixels().astype(int)

    rest, strongest = picture(0.0), max(thing.events, key=lambda event: event.level)
    length = strongest.end_seconds - strongest.start_seconds
    assert np.abs(picture(strongest.start_seconds + 0.6 * length) - rest).max() > 60
    last = thing.events[-1].end_seconds
    if last < SOURCE_SECONDS:
        changed = np.abs(picture(last + 0.01) - rest).max(axis=2) > 40
        assert changed.sum() < 30  # the clock's hand has moved on


def test_regions_do_not_overlap(corpus: list[demo.DemoClip]) -> None:
    for clip in corpus:
        for i, one in enumerate(clip.objects):
            assert 0 < one.region[0] < one.region[2] < FRAME_SIZE
            assert 0 < one.region[1] < one.region[3] < FRAME_SIZE
            for other in clip.objects[i + 1 :]:
                apart_x = max(one.region[0], other.region[0]) - min(one.region[2], other.region[2])
                apart_y = max(one.region[1], other.region[1]) - min(one.region[3], other.region[3])
                assert max(apart_x, apart_y) >= 12


def test_media_has_all_frames_and_ten_seconds(rendered_pair: demo.RenderedClip) -> None:
    with av.open(io.BytesIO(rendered_pair.media)) as container:
        pictures = list(container.decode(video=0))
        assert (pictures[0].width, pictures[0].height) == (FRAME_SIZE, FRAME_SIZE)
        assert [round(picture.time * demo.RENDER_FPS) for picture in pictures] == list(range(demo.RENDER_FRAMES))
        assert float(container.streams.video[0].duration * container.streams.video[0].time_base) == SOURCE_SECONDS
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) == SOURCE_SECONDS
        assert container.streams.video[0].codec.name == "h264"
        assert container.streams.audio[0].codec.name == "aac"
    assert b" threads=1 " in rendered_pair.media  # x264's own note of its settings: its bytes depend on the threads
    assert abs(len(_decode_audio(rendered_pair.media)) - SOURCE_SAMPLES) < 400


def test_encoded_picture_is_the_drawn_one(pair: demo.DemoClip, rendered_pair: demo.RenderedClip) -> None:
    frames, _ = demo.draw_clip(pair)
    with av.open(io.BytesIO(rendered_pair.media)) as container:
        for drawn, picture in zip(frames, container.decode(video=0), strict=True):
            assert np.abs(picture.to_ndarray(format="rgb24").astype(int) - drawn).mean() < 5


def test_sound_of_a_pair_is_the_targets_alone(pair: demo.DemoClip, rendered_pair: demo.RenderedClip) -> None:
    heard = _decode_audio(rendered_pair.media)[:SOURCE_SAMPLES]
    target, other = rendered_pair.stems
    assert np.corrcoef(heard, target)[0, 1] > 0.99
    assert abs(np.corrcoef(heard, other)[0, 1]) < 0.1
    assert np.array_equal(target, render_stem(pair.objects[0]))


def test_decoded_thuds_are_within_20_ms_of_the_truth(rendered_pair: demo.RenderedClip) -> None:
    heard = np.abs(_decode_audio(rendered_pair.media))
    truth = rendered_pair.truth.objects[0]
    for seconds, level in zip(truth.onsets_seconds, truth.onset_levels, strict=True):
        start = round((seconds - 0.1) * SAMPLE_RATE)
        around = heard[start : start + SAMPLE_RATE // 5]
        first = start + int(np.argmax(around > 0.3 * around.max()))
        assert abs(first / SAMPLE_RATE - seconds) < 0.02, f"thud of level {level}"


def test_truth_is_json_and_silent_objects_stay_silent(pair: demo.DemoClip, rendered_pair: demo.RenderedClip) -> None:
    truth = json.loads(rendered_pair.truth.to_json())
    assert truth["target"] == 0
    assert [thing["target"] for thing in truth["objects"]] == [True] + [False] * (len(truth["objects"]) - 1)
    assert len(rendered_pair.stems) == sum(thing["active"] for thing in truth["objects"]) == 2
    assert [thing["wordings"] for thing in truth["objects"][:2]] == [list(pair.wordings), list(pair.other_wordings)]
    assert all(thing["wordings"] == [] for thing in truth["objects"][2:])
    assert len(rendered_pair.materials) == 2
    assert all(thing["phrase"] in thing["names"] for thing in truth["objects"])
    for thing in truth["objects"]:
        assert len(thing["boxes"]) == SOURCE_VIDEO_FRAMES
        assert bool(thing["onsets_seconds"]) == thing["active"]
        assert (thing["stem"] is None) == (not thing["active"])
        if not thing["active"]:
            assert all(box == thing["boxes"][0] for box in thing["boxes"])


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="demo split 'val' has -1 clips"):
        demo.list_clips(train=1, val=-1, test=0, seed=0)
    with pytest.raises(ValueError, match="rendering with 0 processes"):
        next(demo.render_clips(demo.list_clips(train=1, val=0, test=0, seed=0), processes=0))
