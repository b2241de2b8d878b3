import math

import librosa
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from drawaudio_model import cavp
from drawaudio_model.cavp import CAVP, FRAMES_AT_ONCE
from drawaudio_model.masks import apply_mask

SIZE = 32


@pytest.fixture(scope="module")
def small():
    """A narrow CAVP whose residual branches and batch statistics are not at their start."""
    torch.manual_seed(0)
    model = CAVP(video_width=4, video_blocks=(1, 1, 2, 1), audio_width=2, embed_dim=16, image_size=SIZE)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return CAVP()


def frames(batch=2, count=8, seed=0):
    return torch.rand(batch, count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def spectrograms(batch=2, count=64, seed=0):
    return torch.rand(batch, 128, count, generator=torch.Generator().manual_seed(seed))


def test_the_full_size_has_diff_foleys_entries_and_parameters(full):
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert len(full.state_dict()) == 402
    assert count(full) == 113_406_593
    assert sum(value.numel() for value in full.state_dict().values()) == 113_476_163  # 113.48 M with the buffers
    assert round(count(full.video_encoder) / 1e6, 3) == 31.634
    assert round(count(full.video_project_head) / 1e6, 3) == 1.049
    assert round(count(full.spec_encoder) / 1e6, 3) == 80.723


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("logit_scale", ()),
        ("video_encoder.conv1.conv.weight", (64, 3, 1, 7, 7)),
        ("video_encoder.conv1.bn.running_var", (64,)),
        ("video_encoder.layer1.0.conv1.conv.weight", (64, 64, 1, 1, 1)),
        ("video_encoder.layer1.0.downsample.conv.weight", (256, 64, 1, 1, 1)),
        ("video_encoder.layer2.3.conv2.conv.weight", (128, 128, 1, 3, 3)),
        ("video_encoder.layer3.0.conv1.conv.weight", (256, 512, 3, 1, 1)),
        ("video_encoder.layer3.5.conv1.conv.weight", (256, 1024, 3, 1, 1)),
        ("video_encoder.layer4.2.conv3.bn.num_batches_tracked", ()),
        ("video_encoder.layer4.2.conv3.conv.weight", (2048, 512, 1, 1, 1)),
        ("video_project_head.weight", (512, 2048)),
        ("spec_encoder.bn.weight", (128,)),
        ("spec_encoder.conv_block1.conv1.weight", (64, 1, 3, 3)),
        ("spec_encoder.conv_block6.bn2.running_mean", (2048,)),
        ("spec_encoder.fc1.weight", (2048, 2048)),
        ("spec_encoder.final_project.bias", (512,)),
    ],
)
def test_keys_and_shapes_are_those_of_the_published_checkpoint(full, key, shape):
    assert tuple(full.state_dict()[key].shape) == shape


def test_the_full_size_gives_one_vector_of_512_a_frame(full):
    with torch.no_grad():
        assert full.encode_video(torch.empty(1, 40, 3, 224, 224, device="meta")).shape == (1, 40, 512)
        assert full.encode_spectrogram(torch.empty(1, 128, 256, device="meta")).shape == (1, 16, 512)


@torch.no_grad()
def test_features_are_unit_vectors_and_pooling_takes_the_maximum(small):
    per_frame = small.encode_video(frames())
    assert per_frame.shape == (2, 8, 16)
    torch.testing.assert_close(per_frame.norm(dim=-1), torch.ones(2, 8))
    raw = small.encode_video(frames(), normalize=False)
    pooled = small.encode_video(frames(), pool=True)
    torch.testing.assert_close(pooled, functional.normalize(raw.amax(dim=1), dim=-1))
    sound = small.encode_spectrogram(spectrograms())
    assert sound.shape == (2, 4, 16)
    raw_sound = small.encode_spectrogram(spectrograms(), normalize=False)
    both = small(frames(), spectrograms())
    torch.testing.assert_close(both[0], pooled)
    torch.testing.assert_close(both[1], functional.normalize(raw_sound.amax(dim=1), dim=-1))


@torch.no_grad()
def test_a_clips_features_do_not_depend_on_the_rest_of_the_batch(small):
    together = small.encode_video(frames(batch=3))
    torch.testing.assert_close(together[1:2], small.encode_video(frames(batch=3)[1:2]), rtol=0, atol=1e-5)
    sound = small.encode_spectrogram(spectrograms(batch=3))
    torch.testing.assert_close(sound[2:], small.encode_spectrogram(spectrograms(batch=3)[2:]), rtol=0, atol=1e-5)


def test_a_few_frames_at_once_give_the_features_of_all_at_once(small):
    clip = frames(batch=2, count=2 * FRAMES_AT_ONCE + 3)
    with torch.no_grad():
        in_parts = small.encode_video(clip)
    at_once = small.encode_video(clip)  # a gradient is asked for, so nothing is cut
    torch.testing.assert_close(in_parts, at_once.detach(), rtol=0, atol=1e-5)


def test_the_folded_normalisation_gives_the_features_of_the_layers(small):
    given = frames(1, 12)
    layers = small.encode_video(given, normalize=False)
    assert layers.requires_grad
    with torch.no_grad():
        folded = small.encode_video(given, normalize=False)
    torch.testing.assert_close(folded, layers.detach(), atol=1e-5, rtol=1e-5)
    assert not torch.equal(folded, layers)  # it is another way of computing them


@torch.no_grad()
def test_a_frame_reaches_as_far_as_the_temporal_kernels_and_no_further(small):
    """Three blocks have a temporal kernel (two in stage 3, one in stage 4), so the reach is three frames each side."""
    clip = frames(batch=1, count=12)
    changed = clip.clone()
    changed[:, 6] = 1 - changed[:, 6]
    moved = (small.encode_video(clip) - small.encode_video(changed)).abs().amax(dim=(0, 2)) > 1e-7
    assert moved.nonzero().flatten().tolist() == [3, 4, 5, 6, 7, 8, 9]


@torch.no_grad()
def test_features_of_a_chunk_differ_from_those_of_the_whole_clip(small):
    clip = frames(batch=1, count=12)
    whole, chunk = small.encode_video(clip), small.encode_video(clip[:, :6])
    torch.testing.assert_close(chunk[:, :3], whole[:, :3])
    assert (chunk[:, 5] - whole[:, 5]).abs().max() > 1e-4


@torch.no_grad()
def test_a_mask_changes_the_features_and_a_whole_frame_does_not(small):
    clip = frames()
    mask = torch.ones(2, 8, SIZE, SIZE, dtype=torch.bool)
    torch.testing.assert_close(small.encode_video(apply_mask(clip, mask)), small.encode_video(clip))
    mask[:, :, :, : SIZE // 2] = False
    assert (small.encode_video(apply_mask(clip, mask)) - small.encode_video(clip)).abs().max() > 1e-3


@torch.no_grad()
def test_the_stem_equals_the_two_dimensional_convolution_of_each_frame(small):
    clip = frames(batch=1, count=2)
    conv = small.video_encoder.conv1.conv
    expected = functional.conv2d(clip[0], conv.weight[:, :, 0], stride=2, padding=3)
    torch.testing.assert_close(conv(clip.transpose(1, 2))[0].transpose(0, 1), expected)


def test_preprocess_resizes_straight_with_antialiasing(small):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 2, 48, 80, 3), dtype=np.uint8)
    found = small.preprocess(pixels)
    assert found.shape == (1, 2, 3, SIZE, SIZE) and found.dtype == torch.float32
    assert 0 <= found.min() and found.max() <= 1
    one = torch.from_numpy(pixels[0, 1]).permute(2, 0, 1)[None].float() / 255
    expected = functional.interpolate(one, (SIZE, SIZE), mode="bilinear", antialias=True)
    torch.testing.assert_close(found[0, 1:2], expected)
    same = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal((small.preprocess(same)[0, 0] * 255).round().permute(1, 2, 0), same[0, 0])


def test_the_loss_is_the_written_out_formula():
    generator = torch.Generator().manual_seed(0)
    video, sound = (
        functional.normalize(torch.randn(2, 3, 5, generator=generator, dtype=torch.float64), dim=-1) for _ in range(2)
    )
    scale = math.exp(1.5)

    def cross_entropy(row, right):
        return math.log(sum(math.exp(value) for value in row)) - row[right]

    def symmetric(v, s):
        logits = [[scale * float(a @ b) for b in s] for a in v]
        size = len(logits)
        rows = sum(cross_entropy(logits[i], i) for i in range(size)) / size
        columns = sum(cross_entropy([logits[j][i] for j in range(size)], i) for i in range(size)) / size
        return (rows + columns) / 2

    semantic = symmetric(video.reshape(6, 5), sound.reshape(6, 5))
    temporal = (symmetric(video[0], sound[0]) + symmetric(video[1], sound[1])) / 2
    found = cavp.contrastive_loss(video, sound, 1.5, temporal_weight=0.7)
    assert float(found.semantic) == pytest.approx(semantic)
    assert float(found.temporal) == pytest.approx(temporal)
    assert float(found.total) == pytest.approx(semantic + 0.7 * temporal)


def test_one_clip_a_video_has_no_temporal_term():
    video = functional.normalize(torch.randn(4, 1, 8), dim=-1)
    assert float(cavp.contrastive_loss(video, video, 0.0).temporal) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="expected the same"):
        cavp.contrastive_loss(video, video[:3], 0.0)


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    model = CAVP(video_width=2, video_blocks=(1, 1, 1, 1), audio_width=2, embed_dim=8, image_size=SIZE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    clip, sound = frames(batch=6, count=4), spectrograms(batch=6, count=32)
    losses = []
    for _ in range(8):
        video_features, sound_features = model(clip, sound)
        loss = cavp.contrastive_loss(video_features.view(2, 3, -1), sound_features.view(2, 3, -1), model.logit_scale)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        model.clamp_logit_scale()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < losses[0] - 0.2
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert 0 <= float(model.logit_scale.detach()) <= math.log(100)


def test_clip_starts_keep_their_distance_and_reach_everywhere():
    rng = np.random.default_rng(0)
    drawn = np.array([cavp.clip_starts(rng) for _ in range(500)])
    assert (np.diff(drawn, axis=1) >= 8).all()
    assert drawn.min() == 0 and drawn.max() == 24
    assert cavp.clip_starts(rng, 4) == [0, 8, 16, 24]
    with pytest.raises(ValueError, match="do not fit into 40 frames"):
        cavp.clip_starts(rng, 5)


def test_diff_foleys_log_mel_equals_librosas():
    waveform = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    spectrum = np.abs(librosa.stft(waveform, n_fft=1024, hop_length=250, pad_mode="reflect"))
    mel = librosa.filters.mel(sr=16000, n_fft=1024, fmin=125, fmax=7600, n_mels=128) @ spectrum
    expected = np.clip((20 * np.log10(np.maximum(mel, 1e-5)) - 20 + 100) / 100, 0, 1)[:, :64]
    np.testing.assert_allclose(cavp.diff_foley_log_mel(waveform), expected, atol=1e-4)


def test_four_seconds_of_sound_are_256_frames():
    found = cavp.diff_foley_log_mel(torch.zeros(2, 3, 64_000))
    assert found.shape == (2, 3, 128, 256)
    assert found.max() == 0


def test_a_folder_gives_the_same_model(small, tmp_path):
    small.save_pretrained(tmp_path / "folder")
    loaded = CAVP.from_checkpoint(tmp_path / "folder")
    assert not loaded.training and loaded.config.image_size == SIZE
    torch.testing.assert_close(loaded.encode_video(frames()), small.encode_video(frames()))


@torch.no_grad()
def test_the_video_tower_alone_gives_the_same_features(small, full, tmp_path):
    alone = small.video_only()
    assert torch.equal(alone.encode_video(frames()), small.encode_video(frames()))
    with pytest.raises(ValueError, match="no sound tower"):
        alone.encode_spectrogram(spectrograms())
    alone.save_pretrained(tmp_path)
    assert torch.equal(CAVP.from_checkpoint(tmp_path).encode_video(frames()), small.encode_video(frames()))
    with torch.device("meta"):
        assert sum(weight.numel() for weight in CAVP(audio_width=0).parameters()) == 113_406_593 - 80_723_008


def test_other_files_are_refused(small, tmp_path):
    torch.save({"state_dict": small.state_dict()}, tmp_path / "small.ckpt")
    with pytest.raises(ValueError, match=r"full-size CAVP: \d+ differ, the first is \S+ of shape \(") as caught:
        CAVP.from_checkpoint(tmp_path / "small.ckpt")
    assert "\n" not in str(caught.value)
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "small.ckpt").read_bytes()[:-500])
    (tmp_path / "empty.ckpt").touch()
    for name in ("cut", "empty"):
        with pytest.raises(ValueError, match=f"{name}.ckpt is no checkpoint of plain tensors: .*; download it again"):
            CAVP.from_checkpoint(tmp_path / f"{name}.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="holds a list"):
        CAVP.from_checkpoint(tmp_path / "list.ckpt")
    torch.save({"state_dict": small}, tmp_path / "pickled.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of plain tensors"):
        CAVP.from_checkpoint(tmp_path / "pickled.ckpt")
    with pytest.raises(FileNotFoundError):
        CAVP.from_checkpoint(tmp_path / "missing.ckpt")


def test_a_full_checkpoint_is_read_with_wrapper_and_prefix(full, tmp_path):
    """Every weight repeats one number, which a file stores once: all keys and few bytes."""
    state = {
        f"module.{key}": torch.tensor(index % 7 / 8).expand(value.shape)
        for index, (key, value) in enumerate(full.state_dict().items())
    }
    torch.save({"state_dict": state, "epoch": 66}, tmp_path / "cavp_epoch66.ckpt")
    loaded = CAVP.from_checkpoint(tmp_path / "cavp_epoch66.ckpt")
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, state[f"module.{key}"].to(value.dtype)), key


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.encode_video(torch.zeros(1, 2, 3, 16, 16)), r"shape \(1, 2, 3, 16, 16\)"),
        (lambda model: model.encode_video(torch.zeros(1, 2, 3, SIZE, SIZE, dtype=torch.uint8)), "torch.uint8"),
        (lambda model: model.encode_spectrogram(torch.zeros(1, 64, 32)), r"expected \(B, 128, T\)"),
        (lambda model: model.encode_spectrogram(torch.zeros(1, 128, 8)), "at least 16"),
        (lambda model: model.preprocess(torch.zeros(1, 2, 8, 8, 3)), "torch.float32"),
        (lambda model: cavp.diff_foley_log_mel(np.zeros(100)), "more than 512"),
        (lambda model: CAVP(video_blocks=(1, 1, 1)), "four numbers"),
    ],
)
def test_wrong_input_says_what_is_wrong(small, call, message):
    with pytest.raises(ValueError, match=message):
        call(small)
