"""The small backbones' training: it learns, its folder opens again, and it depends on its seed only."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from drawaudio_model.backbone_config import AutoencoderConfig, DetectorConfig, backbone_config
from drawaudio_model.caption import Caption
from drawaudio_model.cavp import CAVP
from drawaudio_model.clip_format import FRAME_SIZE, SAMPLE_RATE, SOURCE_SAMPLES, SOURCE_VIDEO_FRAMES
from drawaudio_model.detector import ObjectDetector, letterbox, suppress
from drawaudio_model.media import encode_flac, encode_jpeg
from drawaudio_model.patch_autoencoder import compression, load_autoencoder
from drawaudio_model.pretrain import load_backbone, main, pretrain, share_steps
from drawaudio_model.pretraining.autoencoder import read_log_mels, train_autoencoder
from drawaudio_model.pretraining.cavp import (
    COARSE_BANDS,
    STANDARD_VIEWS,
    CavpConfig,
    Corpus,
    Questions,
    View,
    coarse_spectrum,
    standardise,
)
from drawaudio_model.pretraining.detector import Thing, ask_for, choose_name, names_of_thing
from drawaudio_model.pretraining.loop import TrainClips, fit
from drawaudio_model.pretraining.text import Pairs, drop_tokens, kind_accuracy, mean_states
from drawaudio_model.scene_truth import TRUTH_MEMBER, SceneTruth, TrueObject, read_truth
from drawaudio_model.shard import ShardReader, ShardWriter
from drawaudio_model.text import TextConditioner, build_text_conditioner, train_tokenizers

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 230)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six clips: a square that moves on grey, coloured by the pitch of the tone that is heard."""
    folder = tmp_path_factory.mktemp("data")
    with (
        ShardWriter(folder / "clip_media", "train-000000", inputs={}) as media,
        ShardWriter(folder / "captions", "train-000000", inputs={}) as captions,
        ShardWriter(folder / "raw_clips", "train-000000", inputs={}) as truth,
    ):
        for number in range(6):
            key, colour = f"clip{number}_000000", list(COLOURS)[number % 3]
            frames, boxes = draw_square(COLOURS[colour], number)
            time = np.arange(SOURCE_SAMPLES) / SAMPLE_RATE
            tone = 0.4 * np.sin(2 * np.pi * 300 * (1 + number % 3) * time) * (np.sin(2 * np.pi * time) > 0)
            pictures = {f"{i:03d}.jpg": encode_jpeg(frame) for i, frame in enumerate(frames)}
            sound = encode_flac(tone.astype(np.float32))
            media.add(key, {"json": b"{}", "flac": sound, **pictures})
            captions.add(key, {"json": Caption(f"a {colour} square beeps, take {number}", "test").to_json()})
            thing = TrueObject(
                "square", f"{colour} square", colour, active=True, stem=0, boxes=tuple(map(tuple, boxes))
            )
            facts = SceneTruth(key, "square", f"a {colour} square beeps", target=0, objects=(thing,))
            truth.add(key, {TRUTH_MEMBER: facts.to_json(), "stem0.flac": sound})
        for writer in (media, captions, truth):
            writer.commit()
    return folder


def draw_square(colour, number):
    frames = np.full((SOURCE_VIDEO_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), 120, np.uint8)
    boxes = []
    for i, frame in enumerate(frames):
        left, top, side = 10 + 3 * i, 20 + 15 * number, 60
        frame[top : top + side, left : left + side] = colour
        boxes.append([left / FRAME_SIZE, top / FRAME_SIZE, (left + side) / FRAME_SIZE, (top + side) / FRAME_SIZE])
    return frames, boxes


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def test_a_tenth_of_the_clips_is_held_out(root):
    train, held_out = TrainClips(root, ["clip_media", "raw_clips"]).split()
    assert len(held_out) == 1 and len(train) == 5 and not set(train) & set(held_out)


def test_no_shards_name_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="no training clip stands in all of clip_media, raw_clips"):
        TrainClips(tmp_path, ["clip_media", "raw_clips"])


def test_fit_finds_a_line_and_follows_its_schedule(tmp_path):
    torch.manual_seed(0)
    line, x = torch.nn.Linear(1, 1), torch.linspace(-1, 1, 32)[:, None]
    run = fit(
        "line",
        line.parameters(),
        lambda step: (line(x) - (3 * x + 1)).square().mean(),
        steps=300,
        learning_rate=0.1,
        log=tmp_path / "log.jsonl",
        weight_decay=0.0,
    )
    assert run.steps == 300 and run.loss_after < 1e-4 < run.loss_before
    assert line.weight.item() == pytest.approx(3, abs=0.02) and line.bias.item() == pytest.approx(1, abs=0.02)


def test_fit_stops_on_a_loss_that_is_no_number(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="loss of step 0 is nan"):
        fit("x", [weight], lambda step: weight.sum() * np.nan, steps=2, learning_rate=0.1, log=tmp_path / "log.jsonl")


def test_steps_are_shared_out_in_proportion():
    config = backbone_config("text_encoders", "demo")
    shared = share_steps(config, ("clap_steps", "t5_steps", "gpt_steps"), 70)
    total = config.clap_steps + config.t5_steps + config.gpt_steps
    assert shared.t5_steps == round(config.t5_steps * 70 / total)
    with pytest.raises(ValueError, match="expected at least 1"):
        share_steps(config, ("clap_steps",), 0)


def test_unknown_backbone_is_named():
    with pytest.raises(ValueError, match="backbone is 'flute', expected one of audio_autoencoder"):
        load_backbone("flute")


def test_autoencoder_rebuilds_sounds_that_it_never_heard_and_scales_its_latents(root, tmp_path):
    config = AutoencoderConfig(latent_channels=8)
    measured = train_autoencoder(root, tmp_path, config, seed=0, seconds=None, device=torch.device("cpu"))
    model = load_autoencoder(tmp_path)
    assert compression(model) == 8
    assert model.config.scaling_factor == pytest.approx(measured["scaling_factor"])
    clips = TrainClips(root, ["clip_media"])
    mels = read_log_mels(clips, clips.split()[1])
    latents = model.encode(mels[:, None]).latent_dist.mean
    assert latents.shape == (len(mels), 8, 125, 8)
    assert 0.5 < float(latents.std()) * model.config.scaling_factor < 1.5
    rebuilt = model.decode(latents).sample[:, 0]
    assert measured["held_out_error_nats"] == pytest.approx(float((rebuilt - mels).abs().mean()))
    # Eight numbers of 64 say far more than the mean of a patch does.
    flat = torch.nn.functional.interpolate(
        torch.nn.functional.avg_pool2d(mels[:, None], 8), scale_factor=8, mode="nearest"
    )[:, 0]
    assert measured["held_out_error_nats"] < 0.5 * float((flat - mels).abs().mean())
    assert (tmp_path / "patterns.png").stat().st_size > 0 and (tmp_path / "reconstruction.png").stat().st_size > 0


def test_a_backbone_that_is_computed_at_once_takes_no_steps(root, tmp_path):
    with pytest.raises(ValueError, match="steps is 3, but this backbone is computed at once; leave --steps out"):
        pretrain("audio_autoencoder", root, tmp_path / "autoencoder", run="tiny", steps=3)


def test_same_seed_same_weights_other_seed_other_weights(root, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain("cavp_backbone", root, tmp_path / name, run="tiny", steps=2, seed=seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    assert (tmp_path / "a/report.json").read_bytes() == (tmp_path / "b/report.json").read_bytes()
    assert not list(tmp_path.glob(".*partial"))


def test_cavp_folder_opens_again(root, tmp_path):
    main(["cavp", "--data", str(root), "--output", str(tmp_path / "cavp"), "--run", "tiny", "--steps", "2"])
    model = CAVP.from_pretrained(tmp_path / "cavp")
    side = model.config.image_size
    assert model.encode_video(torch.rand(1, 40, 3, side, side)).shape == (1, 40, model.config.embed_dim)
    assert json.loads((tmp_path / "cavp/report.json").read_text())["steps"] == 2


def small_corpus() -> Corpus:
    random = np.random.default_rng(0)
    frames = torch.from_numpy(random.integers(0, 256, (2, 40, 3, 32, 32), dtype=np.uint8))
    spectrograms = torch.from_numpy(random.random((3, 128, 640), dtype=np.float32))
    whole, right = (np.tile(np.array(box, float), (40, 1)) for box in ((0, 0, 1, 1), (0.5, 0, 1, 1)))
    views = [View(0, None, 0, 1, (0, 1)), View(0, right, 1, 1, (1,)), View(1, whole, 2, -1, ())]
    return Corpus(frames, spectrograms, views, ["bell", "drum"])


def test_questions_have_no_loss_for_an_encoder_that_knows_the_answers():
    corpus = small_corpus()
    questions = Questions(2 + COARSE_BANDS, corpus)
    with torch.no_grad():
        for head, columns in ((questions.kind, slice(0, 2)), (questions.spectrum, slice(2, None))):
            head.weight.zero_()
            head.bias.zero_()
            head.weight[:, columns] = torch.eye(head.out_features)
    views, _, sounds = corpus.draw(np.random.default_rng(1), 3, 2, 4)
    assert [view.sound_kind for view in views].count(-1) == 2
    bands = (coarse_spectrum(sounds) - questions.mean) / questions.deviation
    seen = torch.tensor([[40.0 if kind in view.visible_kinds else -40.0 for kind in range(2)] for view in views])
    heard = torch.tensor([[40.0 if kind == view.sound_kind else -40.0 for kind in range(2)] for view in views])
    video, sound = (torch.cat([kinds[:, None].expand(-1, 4, -1), bands], dim=2) for kinds in (seen, heard))
    assert questions.loss(views, video, sound, sounds).item() == pytest.approx(0, abs=1e-4)
    # What is unknown is not asked: only the other views' answers count.
    unknown = torch.tensor([view.sound_kind < 0 for view in views])
    turned = torch.where(unknown[:, None, None], torch.cat([-video[..., :2], bands], dim=2), video)
    assert questions.loss(views, turned, sound, sounds).item() == pytest.approx(0, abs=1e-4)
    turned = torch.where(unknown[:, None, None], video, torch.cat([-video[..., :2], bands], dim=2))
    assert questions.loss(views, turned, sound, sounds).item() > 40


def test_a_view_of_one_thing_is_black_elsewhere():
    corpus = small_corpus()
    frames, sounds = corpus.windows([1, 0], [[3], [3]], 4)
    assert frames.shape == (2, 4, 3, 32, 32) and sounds.shape == (2, 128, 64)
    assert not frames[0, ..., :16].any()
    torch.testing.assert_close(frames[0, ..., 16:], frames[1, ..., 16:])
    torch.testing.assert_close(sounds[0], corpus.spectrograms[1, :, 48:112])


def test_standardising_takes_away_what_all_features_share_and_their_scale():
    corpus, config = small_corpus(), CavpConfig.tiny()
    torch.manual_seed(0)
    model = CAVP(video_width=4, video_blocks=(1, 1, 1, 1), audio_width=2, embed_dim=16, image_size=32)
    standardise(model, corpus, config, np.random.default_rng(5), torch.device("cpu"))
    _, frames, sounds = corpus.draw(np.random.default_rng(5), STANDARD_VIEWS, 1, config.window_frames)
    for features in (model.encode_video(frames, normalize=False), model.encode_spectrogram(sounds, normalize=False)):
        torch.testing.assert_close(features.mean(dim=(0, 1)), torch.zeros(16), atol=1e-4, rtol=0)
        torch.testing.assert_close(features.std(dim=(0, 1)), torch.ones(16), atol=0.1, rtol=0)


def test_a_thing_without_sound_is_asked_for_its_kind_only_and_left_out_of_the_contrast():
    corpus = small_corpus()
    left = np.tile(np.array((0, 0, 0.5, 1), float), (40, 1))
    corpus.views.append(View(0, left, None, -1, (0,)))
    drawn = [corpus.draw(np.random.default_rng(seed), 4, 1, 4)[0] for seed in range(5)]
    assert all(view.sound is not None for views in drawn for view in views)
    views, _, sounds = corpus.draw(np.random.default_rng(0), 4, 1, 4, silent=True)
    silent = [view.sound is None for view in views].index(True)
    assert not sounds[silent].any() and sounds.flatten(1).any(dim=1).sum() == 3
    torch.manual_seed(0)
    questions, features = Questions(COARSE_BANDS, corpus), torch.randn(4, 4, COARSE_BANDS)
    louder = sounds.clone()
    louder[silent] += 1
    assert questions.sight_loss(views, features, louder) == questions.sight_loss(views, features, sounds)
    unseen = [View(0, left, None, -1, ()) if view.sound is None else view for view in views]
    assert questions.sight_loss(unseen, features, sounds) != questions.sight_loss(views, features, sounds)


def test_training_sees_one_thing_through_drawn_masks():
    corpus = small_corpus()
    shown = set()
    for seed in range(30):
        frames, _ = corpus.windows([1], [[3]], 4, np.random.default_rng(seed))
        kept = (frames[0] > 0).any(dim=1)
        assert kept.any(dim=(1, 2)).all() and not kept.all()
        original = corpus.frames[0, 3:7].float() / 255
        torch.testing.assert_close(frames[0], original * kept[:, None])
        shown.add(kept.numpy().tobytes())
    assert len(shown) > 20


def test_text_encoders_learn_and_open_again(root, tmp_path):
    measured = pretrain("text_encoders", root, tmp_path / "text", run="tiny", steps=600)
    assert measured["T5_loss_after"] < 0.8 * measured["T5_loss_before"]
    assert measured["GPT-2_loss_after"] < measured["GPT-2_loss_before"]
    embeddings = TextConditioner.from_pretrained(tmp_path / "text")(["a red square beeps", ""])
    assert embeddings.gpt.shape == (2, 8, 16)
    assert torch.allclose(embeddings.clap.norm(dim=-1), torch.ones(2))


def test_text_encoders_learn_from_a_single_clip(root, tmp_path):
    for asset in ("clip_media", "captions"):
        reader = ShardReader(root / asset, "train-000000")
        with ShardWriter(tmp_path / asset, "train-000000", inputs={}) as writer:
            for key in reader.keys[:2]:
                writer.add(key, reader[key])
            writer.commit()
    assert len(TrainClips(tmp_path, ["clip_media", "captions"]).split()[0]) == 1
    measured = pretrain("text_encoders", tmp_path, tmp_path / "text", run="tiny", steps=3)
    assert np.isfinite(measured["GPT-2_loss_after"])


def wordings_pairs() -> Pairs:
    """Four clips of two kinds, and one of which nothing is known but its caption."""
    return Pairs(
        captions=["a bell rings", "a gong rings", "a drum", "a tom", "a bell rings"],
        wordings=[("a bell tolls", "bells ringing"), ("ding dong",), ("boom boom",), ("a drum beaten", "drums"), ()],
        kinds=["bell", "bell", "drum", "drum", None],
        mels=torch.randn(5, 1000, 64, generator=torch.Generator().manual_seed(0)),
    )


def test_a_text_fits_the_sounds_of_its_kind_and_of_its_caption():
    same = wordings_pairs().same([0, 2, 4], [0, 1, 2, 3, 4])
    assert same.tolist() == [[1, 1, 0, 0, 1], [0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]


def test_texts_of_a_clip_are_its_caption_and_its_wordings():
    pairs, random = wordings_pairs(), np.random.default_rng(0)
    assert {pairs.text(0, 0.3, random) for _ in range(60)} == {"a bell rings", "a bell tolls", "bells ringing"}
    assert {pairs.text(0, 0.0, random) for _ in range(60)} == {"a bell tolls", "bells ringing"}
    assert {pairs.text(4, 0.0, random) for _ in range(9)} == {"a bell rings"}


@pytest.fixture(scope="module")
def small_text(tmp_path_factory):
    pairs = wordings_pairs()
    texts = [*pairs.captions, *(wording for own in pairs.wordings for wording in own)] * 3
    torch.manual_seed(0)
    tokenizers = train_tokenizers(texts, tmp_path_factory.mktemp("text"), vocab_size=300)
    return build_text_conditioner(*tokenizers, clap_dim=16, t5_dim=16, gpt_dim=16, layers=1)


def test_dropped_tokens_are_words_only(small_text):
    tokens = small_text.tokenize(["a bell rings", "a drum beaten with much force"])
    dropped = drop_tokens(small_text, tokens.clap_ids, 1.0, np.random.default_rng(0))
    special = set(small_text.tokenizer.all_special_ids)
    for before, after in zip(tokens.clap_ids.flatten().tolist(), dropped.flatten().tolist(), strict=True):
        assert after == (before if before in special else small_text.tokenizer.mask_token_id)
    assert torch.equal(drop_tokens(small_text, tokens.clap_ids, 0.0, np.random.default_rng(0)), tokens.clap_ids)


def test_mean_states_leave_padding_out():
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [4.0], [6.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert mean_states(states, mask).tolist() == [[2.0], [4.0]]


def test_kinds_are_told_by_the_nearest_centroid(small_text):
    pairs = wordings_pairs()
    assert kind_accuracy(small_text, pairs, pairs).keys() == {"clap", "t5", "gpt"}
    one_each = replace(pairs, wordings=[("ding dong",), (), ("boom boom",), (), ()])
    assert kind_accuracy(small_text, one_each, one_each) == {"clap": 1.0, "t5": 1.0, "gpt": 1.0}
    swapped = replace(one_each, kinds=["drum", "drum", "bell", "bell", None])
    assert kind_accuracy(small_text, one_each, swapped) == {"clap": 0.0, "t5": 0.0, "gpt": 0.0}
    assert kind_accuracy(small_text, pairs, replace(pairs, kinds=[None] * 5)) == {}


def test_text_encoders_learn_wordings_where_the_truth_tells_them(root, tmp_path):
    (tmp_path / "captions").symlink_to(root / "captions")
    (tmp_path / "clip_media").symlink_to(root / "clip_media")
    reader = ShardReader(root / "raw_clips", "train-000000")
    with ShardWriter(tmp_path / "raw_clips", "train-000000", inputs={}) as writer:
        for key in reader.keys:
            truth = read_truth(reader, key)
            colour = truth.target_object.colour
            thing = replace(truth.target_object, wordings=(f"hooting {colour} thing", f"{colour} hoots"))
            writer.add(key, {TRUTH_MEMBER: replace(truth, kind=colour, objects=(thing,)).to_json()})
        writer.commit()
    measured = pretrain("text_encoders", tmp_path, tmp_path / "text", run="tiny", steps=12)
    assert {"kind_accuracy_clap", "kind_accuracy_t5", "kind_accuracy_gpt"} < measured.keys()
    tokenizer = TextConditioner.from_pretrained(tmp_path / "text").tokenizer_2
    assert tokenizer.unk_token not in tokenizer.tokenize("hoots") and tokenizer.tokenize("hoots")[0] == "▁hoot"
    plain = pretrain("text_encoders", root, tmp_path / "plain", run="tiny", steps=12)
    assert not any(name.startswith("kind_accuracy") for name in plain)


def test_the_names_of_a_thing_are_the_truths_or_those_of_its_kind():
    thing = TrueObject("car", "red car", "red", active=False, stem=None, boxes=())
    nouns = {"car": ["car", "van"]}
    assert names_of_thing(thing, nouns) == ["car", "red car", "van", "red van"]
    assert names_of_thing(replace(thing, names=("vehicle",)), nouns) == ["vehicle"]


@pytest.fixture(scope="module")
def detector(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector") / "detector"
    measured = pretrain("object_detector", root, folder, run="tiny", steps=40)
    assert measured["clip_loss_after"] < measured["clip_loss_before"]
    return ObjectDetector.from_pretrained(folder)


def test_boxes_of_a_clip_do_not_depend_on_its_neighbours(detector):
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 255, (3, 90, 120, 3), np.uint8), rng.integers(0, 255, (2, 120, 70, 3), np.uint8)]
    phrases = [["square"], ["red square", "tin roof", "blue square"]]
    every = {"confidence": 0.0, "boxes_per_frame": 1}
    together = detector.detect(clips, phrases, batch_frames=5, **every)
    alone = [detector.detect([c], [p], **every)[0] for c, p in zip(clips, phrases, strict=True)]
    for boxes, own in zip(together, alone, strict=True):
        assert own and len(boxes) == len(own)
        for a, b in zip(boxes, own, strict=True):
            assert (a.frame, a.phrase_index) == (b.frame, b.phrase_index)
            corners = [(box.confidence, box.x0, box.y0, box.x1, box.y1) for box in (a, b)]
            assert corners[0] == pytest.approx(corners[1], rel=1e-3, abs=1e-6)  # confidences are of 5e-5
    assert {box.phrase_index for box in together[1]} <= {0, 2}


def test_detector_asks_only_for_what_it_knows(detector):
    assert detector.knows("red square") and detector.knows("square") and not detector.knows("tin roof")
    assert detector.detect([np.zeros((2, 64, 64, 3), np.uint8)], [["tin roof"]], confidence=0.0) == [[]]
    with pytest.raises(ValueError, match="1 clips but phrases for 2"):
        detector.detect([np.zeros((2, 64, 64, 3), np.uint8)], [[], []])
    with pytest.raises(ValueError, match="expected uint8"):
        detector.detect([np.zeros((2, 64, 64, 3), np.float32)], [["square"]])


def test_detector_folder_without_a_part_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no detector\.pt"):
        ObjectDetector.from_pretrained(tmp_path)


def test_suppression_keeps_the_surest_box_of_each_phrase():
    centres = torch.tensor([[10.0, 11, 40], [10, 10, 40], [8, 8, 8], [8, 8, 8]])
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.0, 0.6, 0.7]])
    kept = suppress(centres, scores, 0.25, 0.5)
    assert [(phrase, round(score, 1)) for phrase, score, _ in kept] == [(0, 0.9), (1, 0.7), (1, 0.6)]
    assert kept[0][2] == [6, 6, 14, 14]


def test_letterbox_scales_the_longer_side_and_pads_with_grey():
    image = letterbox(np.full((40, 80, 3), 255, np.uint8), 32)
    assert image.shape == (3, 32, 32)
    assert torch.allclose(image[:, :16], torch.ones(1)) and torch.allclose(image[:, 16:], torch.tensor(114 / 255))


def test_a_thing_is_mostly_called_as_its_caption_does():
    vehicle = Thing("red car", ("red car", "car", "van", "red van"), (0.1, 0.1, 0.3, 0.3))
    random = np.random.default_rng(0)
    names = [choose_name(vehicle, random) for _ in range(400)]
    assert set(names) == set(vehicle.names)
    assert 0.55 < names.count("red car") / 400 < 0.7


def test_a_picture_is_asked_for_what_it_shows_and_for_what_it_does_not():
    ball = Thing("red ball", ("ball", "red ball"), (0.1, 0.1, 0.3, 0.3))
    vocabulary = ["ball", "red ball", "blue ball", "drum", "bell"]
    for seed in range(20):
        names = ask_for([ball], vocabulary, 4, np.random.default_rng(seed))
        assert len(names) == 4 and len(set(names) & set(ball.names)) == 1
    assert DetectorConfig.tiny().image_size % 32 == 0
