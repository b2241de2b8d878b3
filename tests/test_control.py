"""The control benchmark: what each row instructs, how goals are judged, and a whole run on three tiny scenes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.boxes import Box
from drawaudio_model.clip_format import CLIP_SAMPLES, CLIP_SECONDS, LOUDNESS_POINTS, SOURCE_VIDEO_FRAMES, VIDEO_FRAMES
from drawaudio_model.control import METRICS, UNGENERATED, Judge, Table, main, summarise
from drawaudio_model.evaluation.control_goals import comparisons, goals, mask_swaps
from drawaudio_model.evaluation.control_rows import ROWS, Scene, other_caption, read_scenes, read_truths, row_conditions
from drawaudio_model.evaluation.report import JudgedClip
from drawaudio_model.evaluation.sample_sounds import read_samples
from drawaudio_model.evaluation.sound_classifier import SoundClassifier
from drawaudio_model.evaluation.unsteered_sounds import bursts_at
from drawaudio_model.loudness import loudness_signal, noise_of_curve
from drawaudio_model.masks import apply_mask, rasterize
from drawaudio_model.media import decode_jpeg, encode_jpeg
from drawaudio_model.metrics import onset_times
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.shard import ShardReader, ShardWriter
from drawaudio_model.training_sample import encode_sample
from tests.test_evaluate import KEYS, sample
from tests.test_sound_classifier import write_raw_clips
from tests.test_unsteered_sounds import struck
from tests.tiny_pipeline import tiny_pipeline

BY_NAME = {row.name: row for row in ROWS}
WORDINGS = {"drum": ["bang a drum", "drum roll"], "horn": ["toot"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, shards, raw clips and pictures of three scenes; the first has one thing, the others two."""
    root = tmp_path_factory.mktemp("control")
    pipe = tiny_pipeline()
    pipe.register_to_config(level_matching_db=12.0)
    pipe.save_pretrained(root / "model")
    (root / "wordings.json").write_text(json.dumps(WORDINGS))
    assert write_raw_clips(root / "raw_clips", "test", range(3)) == KEYS
    write_raw_clips(root / "raw_clips", "train", range(3, 7))
    write_raw_clips(root / "raw_clips", "val", range(7, 8))
    with ShardWriter(root / "training_shards", "test-000000", inputs={}) as shard:
        for number, key in enumerate(KEYS):
            shard.add(key, encode_sample(sample(number)))
        shard.commit()
    with ShardWriter(root / "clip_media", "test-000000", inputs={}) as shard:
        for number, key in enumerate(KEYS):
            noise = np.random.default_rng(number).integers(0, 255, (SOURCE_VIDEO_FRAMES, 48, 64, 3), dtype=np.uint8)
            shard.add(key, {f"{frame:03d}.jpg": encode_jpeg(picture) for frame, picture in enumerate(noise)})
        shard.commit()
    return root


@pytest.fixture(scope="module")
def pipe() -> DrawAudioPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def scenes(root: Path, pipe: DrawAudioPipeline) -> dict[str, Scene]:
    samples = read_samples(root / "training_shards", "test", limit=None, seed=0)
    found = read_scenes(pipe, samples, root / "raw_clips", root / "clip_media", seed=0, wordings=WORDINGS)
    return {scene.key: scene for scene in found}


def test_a_scene_knows_the_other_thing_and_another_clips_curve(
    root: Path, pipe: DrawAudioPipeline, scenes: dict[str, Scene]
) -> None:
    assert [scene.kind for scene in scenes.values()] == ["drum", "horn", "drum"]
    assert [scene.other_kind for scene in scenes.values()] == [None, "drum", "horn"]
    assert sorted(scene.donor.key for scene in scenes.values()) == KEYS
    assert all(scene.donor.key != key for key, scene in scenes.items())

    reader = ShardReader(root / "clip_media", "test-000000")
    frames = np.stack([decode_jpeg(reader.member(KEYS[1], f"{i:03d}.jpg")) for i in range(SOURCE_VIDEO_FRAMES)])
    boxes = [Box(frame, 0, 1.0, 0.6, 0.2, 0.9, 0.9) for frame in range(SOURCE_VIDEO_FRAMES)]
    masked = apply_mask(frames, rasterize(boxes, 48, 64))
    expected = pipe.cavp.encode_frames(np.asarray(masked))[0, :VIDEO_FRAMES].numpy()
    np.testing.assert_array_equal(scenes[KEYS[1]].other_cavp_masked, expected)
    boxes = [Box(frame, 0, 1.0, 0.1, 0.1, 0.4, 0.8) for frame in range(SOURCE_VIDEO_FRAMES)]
    masked = apply_mask(frames, rasterize(boxes, 48, 64))
    expected = pipe.cavp.encode_frames(np.asarray(masked))[0, :VIDEO_FRAMES].numpy()
    np.testing.assert_array_equal(scenes[KEYS[1]].true_cavp_masked, expected)


def test_the_other_caption_names_the_other_thing_with_its_own_phrase(root: Path) -> None:
    truths = read_truths(KEYS, root / "raw_clips")
    truth = truths[KEYS[1]]
    # Clip 2 is the next that is about a drum; its caption gets this scene's phrase, and the article that it wants.
    assert other_caption(truth.objects[1], truth, truths) == "an orange drum makes itself heard"
    alone = {KEYS[1]: truth}
    assert other_caption(truth.objects[1], truth, alone) == "an orange drum makes itself heard"


def test_each_row_gives_what_its_name_says_and_withholds_the_rest(
    pipe: DrawAudioPipeline, scenes: dict[str, Scene]
) -> None:
    two = [scenes[key] for key in KEYS[1:]]
    samples = [scene.sample for scene in two]
    null = pipe.text(["", ""])
    texts = {
        "other": pipe.text([scene.other_caption for scene in two]),
        "held_out": pipe.text([scene.held_out_text for scene in two]),
        None: null,
    }
    own_curves = np.stack([scene.sample.loudness[:LOUDNESS_POINTS] for scene in two])
    for row in ROWS:
        given = row_conditions(row, scenes)(pipe, samples)
        np.testing.assert_array_equal(
            given.cavp, np.stack([s.sample.cavp[:VIDEO_FRAMES] for s in two]).astype(np.float32)
        )
        assert given.present.video.tolist() == [True, True]
        if row.text == "own":
            np.testing.assert_array_equal(given.text.gpt, np.stack([s.sample.gpt for s in two]).astype(np.float32))
        else:
            torch.testing.assert_close(given.text.gpt, texts[row.text].gpt)
        masked = {
            None: given.cavp.numpy(),
            "own": np.stack([s.sample.cavp_masked[:VIDEO_FRAMES] for s in two]).astype(np.float32),
            "true": np.stack([s.true_cavp_masked for s in two]),
            "other": np.stack([s.other_cavp_masked for s in two]),
            "drawn": np.stack([s.drawn_cavp_masked for s in two]),
        }[row.mask]
        np.testing.assert_array_equal(given.cavp_masked, masked)
        assert given.present.loudness.tolist() == [row.signal is not None] * 2
        curves = {
            None: np.zeros_like(own_curves),
            "own": own_curves,
            "shuffled": np.stack([s.donor.loudness[:LOUDNESS_POINTS] for s in two]),
            "inverted": own_curves.max(axis=1, keepdims=True) + own_curves.min(axis=1, keepdims=True) - own_curves,
            "drawn": np.stack([s.drawn_curve for s in two]),
        }[row.signal]
        np.testing.assert_allclose(given.loudness, curves, atol=1e-6)
    subsets = {(row.text, row.mask, row.signal) for row in ROWS[:8]}
    assert len(subsets) == 8 and all(value in (None, "own") for subset in subsets for value in subset)


def test_what_a_row_is_judged_by(scenes: dict[str, Scene]) -> None:
    scene = scenes[KEYS[1]]
    assert scene.expected_kind(BY_NAME["all"]) == "horn" and scene.expected_kind(BY_NAME["other_mask"]) == "drum"
    assert scene.expected_kind(BY_NAME["true_mask"]) == "horn"
    assert scene.reference_key(BY_NAME["shuffled_signal"]) == scene.donor.key
    assert scene.reference_key(BY_NAME["inverted_signal"]) is None
    assert scene.reference_key(BY_NAME["none"]) == scene.key
    own, inverted = scene.curve(BY_NAME["none"]), scene.curve(BY_NAME["inverted_signal"])
    assert np.corrcoef(own, inverted)[0, 1] == pytest.approx(-1)
    assert inverted.min() == pytest.approx(own.min(), rel=1e-4) and inverted.max() == pytest.approx(own.max(), rel=1e-4)


def test_a_silent_sound_is_no_thing_and_follows_nothing(scenes: dict[str, Scene]) -> None:
    classifier = SoundClassifier(("horn", "drum"))
    with torch.no_grad():
        for member in classifier.members:
            member.head.weight.zero_()
            member.head.bias.copy_(torch.tensor([1.0, 0.0]))
    noise = np.random.default_rng(0).standard_normal(CLIP_SAMPLES).astype(np.float32)
    real = dict.fromkeys(KEYS, noise)
    onsets = dict.fromkeys(KEYS, np.array([1.0, 2.0]))
    for sound, kind, right in ((np.zeros_like(noise), "nothing", 0), (0.1 * noise, "horn", 1)):
        heard = Judge(real, onsets, classifier).measure(BY_NAME["all"], {KEYS[1]: sound}, scenes)[KEYS[1]]
        rights = heard.figures["right_kind"], heard.figures["right_kind_of_two"]
        assert (heard.predicted_kind, *rights) == (kind, right, right)
        assert np.isfinite(heard.figures["loudness_pearson"])
    silent = {KEYS[1]: np.zeros_like(noise)}
    judged = Judge(real, onsets, classifier).measure(BY_NAME["all"], silent, scenes)[KEYS[1]]
    assert judged.figures["right_in_all"] == 0
    follows = [judged.figures[name] for name in ("loudness_pearson", "loudness_error_db", "onset_f1")]
    assert follows == [0, 40, 0]


def test_right_at_once_is_the_thing_the_level_and_the_onsets_of_one_clip(scenes: dict[str, Scene]) -> None:
    classifier = SoundClassifier(("horn", "drum"))
    with torch.no_grad():
        for member in classifier.members:
            member.head.weight.zero_()
            member.head.bias.copy_(torch.tensor([1.0, 0.0]))
    real = struck(decay=1600)
    curve = loudness_signal(real, seconds=CLIP_SECONDS)
    scene = scenes[KEYS[1]]
    scene = replace(scene, sample=replace(scene.sample, loudness=np.append(curve, np.zeros(20, np.float32))))
    judge = Judge({scene.key: real}, {scene.key: onset_times(real)}, classifier)

    def figures(row: str, sound: np.ndarray) -> tuple[float, float]:
        found = judge.measure(BY_NAME[row], {scene.key: sound}, {scene.key: scene})[scene.key].figures
        return found["right_in_all"], found["right_at_once"]

    assert figures("all", real) == (1, 1)
    assert figures("all", noise_of_curve(curve)) == (1, 0), "noise has no onset of the clip's"
    assert figures("all", 0.4 * real) == (0, 0), "8 dB too quiet"
    assert figures("other_mask_signal", real) == (0, 0), "a drum was asked for"
    asked = scene.drawn_curve
    assert np.isnan(figures("drawn_signal", noise_of_curve(asked))[1]), "no real sound has a drawn curve"


def test_sounds_are_measured_against_the_picture_of_the_thing_that_is_asked_for(scenes: dict[str, Scene]) -> None:
    scene = replace(scenes[KEYS[1]], events=(1.0, 3.0, 6.0), other_events=(2.0, 4.5))
    judge = Judge({scene.key: struck(decay=1600)}, {scene.key: np.array([])}, SoundClassifier(("horn", "drum")))

    def figure(row: str, events: tuple[float, ...], of: Scene = scene) -> float:
        sound = bursts_at(events, [0.1] * len(events), CLIP_SECONDS)
        return judge.measure(BY_NAME[row], {of.key: sound}, {of.key: of})[of.key].figures["event_f1"]

    assert figure("none", scene.events) == 1, "also where no curve is given"
    assert figure("none", scene.other_events) == 0
    assert figure("other_text", scene.other_events) == 1 and figure("other_text", scene.events) == 0
    assert figure("none", (1.0, 3.5)) == pytest.approx(2 / 5)
    assert figure("none", (1.5, 3.5, 6.5)) == 0, "half a second late"
    assert np.isnan(figure("none", (1.0,), replace(scene, events=()))), "a thing without events says nothing"


def test_the_picture_tells_its_events_within_the_clip(scenes: dict[str, Scene]) -> None:
    assert [scene.events for scene in scenes.values()] == [(1.0, 3.0)] * 3
    assert [scene.other_events for scene in scenes.values()] == [(), (2.0,), (2.0,)]


def test_a_mask_swaps_the_sound_only_where_both_things_obey() -> None:
    right = {"true_mask": (1, 1, 0, 0, 1), "other_mask": (1, 0, 1, 0)}
    clips = {
        row: {f"clip{i}": {"right_kind_of_two": float(value)} for i, value in enumerate(values)}
        for row, values in right.items()
    }
    swaps = mask_swaps(clips, seed=0)
    assert swaps.value == 0.25 and swaps.count == 4


def judged(pearson: float, kind: float) -> dict[str, dict[str, float]]:
    """Twelve clips with a little spread."""
    spread = np.linspace(-0.01, 0.01, 12)
    return {f"clip{i}": {"loudness_pearson": pearson + d, "right_kind_of_two": kind} for i, d in enumerate(spread)}


def test_an_instruction_improves_its_metric_only_where_the_intervals_are_apart() -> None:
    clips = {row.name: judged(0.2, 0.5) for row in ROWS}
    for name in ("signal", "text_signal", "mask_signal", "all"):
        clips[name] = judged(0.95, 0.5)
    clips["text"] = judged(0.2, 1.0)
    found = {(row["instruction"], row["without"]["row"], row["with"]["row"]): row for row in comparisons(clips, seed=0)}
    assert [key for key, row in found.items() if row["improves"]] == [
        ("text", "none", "text"),
        ("signal", "none", "signal"),
        ("signal", "text", "text_signal"),
        ("signal", "mask", "mask_signal"),
        ("signal", "text_mask", "all"),
    ]
    change = found["signal", "text_mask", "all"]["mean_change"]
    assert change["value"] == pytest.approx(0.75) and change["count"] == 12
    assert not found["mask", "none", "mask"]["improves"]


def test_five_of_five_are_not_surely_more_than_one_of_five() -> None:
    """Resampled, the interval of the first has no width, and the two are apart."""
    clips = {row.name: {} for row in ROWS}
    for name in clips:
        kinds = [1.0] * 5 if name == "text" else [1.0, 0.0, 0.0, 0.0, 0.0]
        clips[name] = {
            f"clip{i}": {"loudness_pearson": 0.1 * i, "right_kind_of_two": kind} for i, kind in enumerate(kinds)
        }
    found = {(row["without"]["row"], row["with"]["row"]): row for row in comparisons(clips, seed=0)}
    text = found["none", "text"]
    assert text["with"]["value"] == text["with"]["high"] == 1.0 and 0.5 < text["with"]["low"] < 0.6
    assert not text["improves"]
    for name in clips:
        clips[name] = {f"clip{i}": {"loudness_pearson": 0.1 * i, "right_kind_of_two": 1.0} for i in range(5)}
    assert mask_swaps(clips, seed=0).low < 0.6
    judged = {
        key: JudgedClip(dict.fromkeys(METRICS, 0.0) | clip, 0.5, "horn", True, "horn")
        for key, clip in clips["text"].items()
    }
    summary = summarise(Table(ROWS[0], "", {}, judged), 0)
    assert summary["right_kind_of_two"]["low"] < 0.6 and summary["right_kind_of_two"]["statistic"] == "mean"


def test_goals_are_reached_at_their_limit_and_missed_when_undefined() -> None:
    usual = {"loudness_pearson": 0.95, "loudness_error_db": 2.0, "level_error_db": 1.5, "onset_f1": 0.85}
    usual |= {
        "right_kind": 0.95,
        "right_kind_of_two": 0.95,
        "silence_db": -30.0,
        "right_in_all": 0.8,
        "right_at_once": 0.8,
    }

    def row(worst: float = 0.75, **values: float) -> dict[str, object]:
        return {"metrics": {name: {"value": value, "worst_tenth": worst} for name, value in (usual | values).items()}}

    rows = {name: row() for name in BY_NAME} | {"text_mask": row(onset_f1=0.5)}
    rows |= {name: row(right_in_all=0.25, right_at_once=0.25) for name in UNGENERATED}
    compared = [{"instruction": "signal", "improves": True}, {"instruction": "signal", "improves": False}]
    checked = goals(rows, 0.75, {"held_out_stems": 0.95, "decoded_sounds": 0.95}, compared)
    assert [goal["reached"] for goal in checked] == [True] * 26 + [False]
    rows["mask"] = row(right_kind_of_two=float("nan"))
    rows["all"] = row(loudness_error_db=2.01)
    rows["drawn_signal"] = row(worst=0.74, level_error_db=2.01, silence_db=-29.9)
    rows["noun_drawn"] = row(right_in_all=0.35)
    rows["bursts"] = row(right_at_once=0.35)
    wrong = {"held_out_stems": 0.94, "decoded_sounds": 0.94}
    missed = {goal["name"] for goal in goals(rows, 0.74, wrong, []) if not goal["reached"]}
    assert missed == {
        "classifier: accuracy on held-out stems",
        "classifier: accuracy on decoded sounds",
        "loudness error (dB), all instructions",
        "mask obedience, two things, no text",
        "swapped mask swaps the sound, no text (both right in a scene)",
        "drawn curve: correlation, worst tenth",
        "drawn curve: level error (dB)",
        "drawn curve: level where zero is drawn (dB)",
        "the same, more than noise, the thing's spectrum or bursts under the curve",
        "the same, more than noise, the thing's spectrum or bursts under the drawn curve",
    }


def arguments(root: Path, output: Path, *more: str) -> list[str]:
    folders = {"model": "model", "shards": "training_shards", "raw-clips": "raw_clips", "media": "clip_media"}
    given = [part for name, folder in folders.items() for part in (f"--{name}", str(root / folder))]
    given += ["--wordings", str(root / "wordings.json"), "--repetitions", "2"]
    run = ["--steps", "1", "--classifier-steps", "2", "--batch", "2", "--device", "cpu", "--page-clips", "2"]
    return [*given, "--output", str(output), *run, *more]


@pytest.fixture(scope="module")
def report(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report")
    assert main(arguments(root, output, "--seed", "3", "--beside", f"additive={root / 'model'}")) == 0
    return output


def test_the_report_has_every_row_with_intervals_and_counts(report: Path) -> None:
    result = json.loads((report / "control.json").read_text())
    beside = {"additive.signal", "additive.all", "additive.shuffled_signal"}
    assert set(result["rows"]) == {*BY_NAME, *beside, *UNGENERATED}
    assert result["seed"] == 3 and result["clips"] == 3 and result["clips_with_two_things"] == 2
    for name, row in result["rows"].items():
        assert set(row["metrics"]) == set(METRICS)
        asked = BY_NAME.get(name)
        times = 2 if asked is not None and asked.drawn else 1
        assert row["metrics"]["right_kind"]["count"] == times * (2 if asked is not None and asked.of_two else 3), name
        assert row["metrics"]["right_kind_of_two"]["count"] == 2 * times
    # The bound that is the reference itself.
    real = result["rows"]["real"]["metrics"]
    assert real["onset_f1"]["value"] == 1 and real["envelope_l1"]["value"] == 0
    assert result["rows"]["inverted_signal"]["metrics"]["onset_f1"]["value"] is None
    assert result["rows"]["events"]["metrics"]["event_f1"]["value"] == 1
    for name in ("noise", "noun", "bursts"):
        own, drawn = (result["rows"][row]["metrics"] for row in (name, f"{name}_drawn"))
        assert own["onset_f1"]["count"] == own["right_at_once"]["count"] == 3, name
        assert drawn["right_in_all"]["count"] == 3 and drawn["right_at_once"]["count"] == 0, name
    # Noise has the curve and its level, and no onset of the clip's.
    noise = result["rows"]["noise_drawn"]["metrics"]
    assert noise["loudness_pearson"]["value"] > 0.9 and noise["level_error_db"]["value"] < 2
    assert result["rows"]["drawn_signal"]["metrics"]["onset_f1"]["value"] is None
    # The same model beside itself gives the same sounds.
    assert result["rows"]["additive.all"]["metrics"] == result["rows"]["all"]["metrics"]
    assert result["classifier"]["held_out_stems"] == 7
    assert result["mask_swaps"]["count"] == 2
    log = [json.loads(line) for line in (report / "log.jsonl").read_text().splitlines()]
    (start,) = (row for row in log if row["event"] == "start")
    (finish,) = (row for row in log if row["event"] == "finish")
    assert start["total"] == finish["step"]
    clips = json.loads((report / "clips.json").read_text())
    assert {clip["predicted_kind"] for clip in clips["all"].values()} <= {"horn", "drum"}
    assert clips["other_mask"][KEYS[1]]["expected"] == "drum"


def test_instructions_reach_the_sound(report: Path) -> None:
    sounds = {row.name: (report / "clips" / row.name / f"{KEYS[1]}.flac").read_bytes() for row in ROWS}
    assert len(set(sounds.values())) == len(ROWS)


def test_the_page_stands_alone(report: Path) -> None:
    page = (report / "index.html").read_text()
    links = re.findall(r'(?:src|poster|href)="([^"]+)"', page)
    files = [link for link in links if not link.startswith("data:image/png;base64,")]
    assert len(links) == len(files) + 1
    assert all(link.startswith("page/") and (report / link).stat().st_size > 100 for link in files)
    assert page.count("<article") == 2 and "classified as" in page and "missed" in page


def test_a_second_run_keeps_what_is_there(root: Path, report: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in (report / "clips").rglob("*.flac")}
    before = json.loads((report / "control.json").read_text())
    lost = report / "clips" / "mask" / f"{KEYS[0]}.flac"
    content = lost.read_bytes()
    lost.unlink()
    for row, peak in (("none", 4.5), ("additive.all", 1.5)):
        (report / "clips" / row / f"{KEYS[1]}.limited.json").write_text(json.dumps({"peak_db": peak}))
    assert main(arguments(root, report, "--seed", "3", "--beside", f"additive={root / 'model'}")) == 0
    assert lost.read_bytes() == content
    assert {path for path, written in kept.items() if path.stat().st_mtime_ns != written} == {lost}
    after = json.loads((report / "control.json").read_text())
    generated = len(kept)  # those of the repetitions, too
    assert before["limited_clips"] == {"count": 0, "of": generated, "largest_peak_db": None}
    # Two rows, of which one is the second model's, were limited by the run that made their sounds.
    assert after["limited_clips"] == {"count": 2, "of": generated, "largest_peak_db": 4.5}
    assert after["rows"] == before["rows"] and after["goals"] == before["goals"]


def test_clips_without_truth_are_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = arguments(root, tmp_path)
    other[other.index("--raw-clips") + 1] = str(root / "clip_media")
    assert main(other) == 2
    assert "no finished shard of the split 'train'" in capsys.readouterr().err
    assert main([*arguments(root, tmp_path), "--beside", "additive"]) == 2
    assert "expected NAME=FOLDER" in capsys.readouterr().err
