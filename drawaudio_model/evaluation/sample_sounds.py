"""Sounds of a split's samples: the choice of samples, their generated sounds, and the bounds beside them.

Legend: N clips, B batch, T mel frames, M mel bins, P loudness points.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from drawaudio_model import metrics
from drawaudio_model.atomic_files import fingerprint, write_atomically
from drawaudio_model.clip_format import CLIP_SAMPLES, CLIP_SECONDS, LOUDNESS_POINTS, VIDEO_FRAMES
from drawaudio_model.dataset import pad_text
from drawaudio_model.guidance import Guidance
from drawaudio_model.levels.full_scale import LIMITED_SUFFIX, count_limited, fit_full_scale, note_limited
from drawaudio_model.levels.limiter import CEILING_DB
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.media import decode_flac, encode_flac
from drawaudio_model.mel import log_mel, normalize_waveform, vocode
from drawaudio_model.pipeline import Conditions, DrawAudioPipeline
from drawaudio_model.progress import Reporter
from drawaudio_model.shard import EXCLUDE_FILE, ShardReader, finished_shards, is_excluded, read_exclude_list
from drawaudio_model.text import TextEmbeddings
from drawaudio_model.thread_choice import chosen_threads, threads_setting
from drawaudio_model.training_sample import TrainingSample, decode_sample

Found = TypeVar("Found")


@dataclass(frozen=True)
class Evaluation:
    """All that determines the generated sounds."""

    model_sha256: str
    split: str
    seed: int
    steps: int
    guidance: Guidance
    """With every weight, over the whole noise schedule."""
    instructions: str
    """Fingerprint of the clips' conditions, and of how many clips were sampled together."""
    beyond_full_scale: str = f"limited to {CEILING_DB:g} dBTP"
    """Treatment of a sound that a FLAC cannot hold."""

    def record(self) -> dict[str, Any]:
        """As JSON has it, the weights one by one."""
        return flat_settings(self, self.guidance)


def flat_settings(settings: Any, guidance: Guidance) -> dict[str, Any]:
    """A dataclass's fields as JSON has them, the weights of `guidance` in place of its field `guidance`."""
    flat: dict[str, Any] = {}
    for field in fields(settings):
        flat |= guidance.settings() if field.name == "guidance" else {field.name: getattr(settings, field.name)}
    return flat


def read_samples(shards: Path, split: str, *, limit: int | None, seed: int) -> list[TrainingSample]:
    """The split's samples, sorted by key; with a limit, that many drawn at random (the same for the same seed).

    Raises:
        ValueError: when there is no finished shard or a sample has no sound.
    """
    readers = [ShardReader(shards, name) for name in finished_shards(shards, split=split)]
    excluded = read_exclude_list(shards / EXCLUDE_FILE)
    places = sorted(
        (key, number) for number, reader in enumerate(readers) for key in reader.keys if not is_excluded(key, excluded)
    )
    if not places:
        raise ValueError(f"{shards} has no finished shard of the split {split!r}; materialize training_shards first")
    if limit is not None and limit < len(places):
        chosen = np.random.default_rng(seed).permutation(len(places))[: max(limit, 1)]
        places = [places[i] for i in sorted(chosen)]
    samples = [decode_sample(key, readers[number][key]) for key, number in places]
    for reader in readers:
        reader.close()
    silent = [sample.key for sample in samples if sample.flac is None]
    if silent:
        raise ValueError(f"{len(silent)} samples have no flac, the first is {silent[0]}; evaluate on shards with sound")
    return samples


def sample_fingerprint(sample: TrainingSample) -> str:
    """sha256 (hex) of all that a sample instructs: its key, its text's, picture's and mask's features, and its curve."""
    digest = sha256(sample.key.encode())
    for array in (sample.clap, sample.t5, sample.gpt, sample.cavp, sample.cavp_masked, sample.loudness):
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def real_waveform(sample: TrainingSample) -> np.ndarray:
    """(128000,) float32: the first 8 s of the clip, normalised over its 10 s as for training."""
    assert sample.flac is not None, f"{sample.key} has no sound"  # read_samples takes none without
    return normalize_waveform(decode_flac(sample.flac))[:CLIP_SAMPLES]


def clip_seed(seed: int, key: str) -> int:
    """The noise's seed of one clip: it depends on no other clip and no order."""
    return int(fingerprint(seed, key)[:12], 16)


def generate_clips(
    pipe: DrawAudioPipeline,
    samples: Sequence[TrainingSample],
    run: Evaluation,
    folder: Path,
    *,
    batch: int,
    report: Reporter,
    conditions: Callable[[DrawAudioPipeline, Sequence[TrainingSample]], Conditions] | None = None,
    part: tuple[int, int] = (0, 1),
    matched: bool = True,
) -> dict[str, np.ndarray]:
    """Key -> (128000,) generated waveform, as read back from the FLACs in `folder`; those that are there are kept.

    A sound beyond full scale is limited, with a note beside its FLAC: `limited_clips` counts them.
    Clips of another model, seed or setting are removed first.

    Args:
        pipe: the model.
        samples: clips, in an order that decides which are sampled together.
        run: all that determines the sounds.
        folder: receives `<key>.flac`, and `<key>.limited.json` where the sound was limited.
        batch: clips sampled together.
        report: counts the clips.
        conditions: the instructions of some clips; None: all of their own, from their features.
        part: (i, n): only every n-th batch from the i-th, so that n processes share the work. Of the others nothing is
            returned.
        matched: whether the pipeline may match levels to the curve, as it does in use; False: as sampled.
    """
    conditions = conditions or batch_conditions
    keep_sounds_of(run, folder)
    mine = range(part[0] * batch, len(samples), part[1] * batch)
    with chosen_threads(threads_setting(), device=pipe.device, tell=report.note) as choice:
        for start in mine:
            # A batch with one clip missing is sampled as a whole, for the same bytes as in a run that was not
            # interrupted: matrix products round differently in batches of another size.
            together = samples[start : start + batch]
            if all((folder / f"{sample.key}.flac").is_file() for sample in together):
                report.step(len(together))
                continue
            clip_conditions = conditions(pipe, together)
            if choice is not None:
                choice.begin()
            latents = pipe.sample_latents(
                clip_conditions,
                run.guidance,
                seeds=[clip_seed(run.seed, sample.key) for sample in together],
                num_inference_steps=run.steps,
                callback_on_step_end=None if choice is None else choice.after_sampling_step,
            )
            # Decoded together: Griffin-Lim takes a core for each clip.
            waveforms = pipe.sounds(latents, clip_conditions, matched=matched)
            for sample, waveform in zip(together, waveforms, strict=True):
                path = folder / f"{sample.key}.flac"
                if not path.is_file():
                    sound = fit_full_scale(waveform)
                    note_limited(path, sound)
                    write_atomically(path, encode_flac(sound.waveform))
                report.step()
    keys = [sample.key for start in mine for sample in samples[start : start + batch]]
    return {key: decode_flac((folder / f"{key}.flac").read_bytes()) for key in keys}


def keep_sounds_of(run: Evaluation, folder: Path) -> None:
    """Leaves in a folder only sounds that were made by this model, seed and settings."""
    marker = folder / "run.json"
    if not marker.is_file() or json.loads(marker.read_text()) != run.record():
        for old in (*folder.glob("*.flac"), *folder.glob(f"*{LIMITED_SUFFIX}")):
            old.unlink()
        write_atomically(marker, json.dumps(run.record(), indent=1).encode())


def limited_clips(folders: Iterable[Path], report: Reporter) -> dict[str, Any]:
    """The number of limited sounds in `folders` and the largest true peak that one had before; also written to the report."""
    limited = count_limited(path for folder in folders for path in sorted(folder.glob("*.flac")))
    if limited["count"]:
        report.note(
            f"{limited['count']} generated sounds exceed full scale, the loudest by {limited['largest_peak_db']:.1f} dB; "
            f"limited to {CEILING_DB:g} dBTP, and measured so"
        )
    return limited


def batch_conditions(pipe: DrawAudioPipeline, samples: Sequence[TrainingSample]) -> Conditions:
    """The first 8 s of B samples' instructions, from their precomputed features."""
    return pipe.conditions(
        text_embeddings(samples),
        pipe.text([""] * len(samples)),
        cavp=stacked(sample.cavp[:VIDEO_FRAMES] for sample in samples),
        cavp_masked=stacked(sample.cavp_masked[:VIDEO_FRAMES] for sample in samples),
        loudness=stacked(sample.loudness[:LOUDNESS_POINTS] for sample in samples),
    )


def text_embeddings(samples: Sequence[TrainingSample]) -> TextEmbeddings:
    """The captions of B samples as the text encoders gave them."""
    t5, t5_mask = pad_text([torch.from_numpy(sample.t5.astype(np.float32)) for sample in samples])
    return TextEmbeddings(
        clap=stacked(sample.clap for sample in samples),
        t5=t5,
        t5_mask=t5_mask,
        gpt=stacked(sample.gpt for sample in samples),
    )


def stacked(arrays: Iterable[np.ndarray]) -> Tensor:
    """(B, ...) float32 of B arrays of one shape."""
    return torch.from_numpy(np.stack([array.astype(np.float32) for array in arrays]))


@torch.no_grad()
def through_autoencoder(
    pipe: DrawAudioPipeline, samples: Sequence[TrainingSample], *, batch: int, report: Reporter
) -> dict[str, np.ndarray]:
    """Key -> the real sound decoded from its own latent mean: what the model would give if it were perfect."""
    sounds: dict[str, np.ndarray] = {}
    for start in range(0, len(samples), batch):
        together = samples[start : start + batch]
        means = stacked(sample.latent[: len(sample.latent) // 2, : pipe.latent_frames] for sample in together)
        decoded = pipe.decode(means.to(pipe.device) * pipe.vae.config.scaling_factor)
        sounds.update(zip((sample.key for sample in together), decoded, strict=True))
        report.step(len(together))
    return sounds


@torch.no_grad()
def rebuilt_sound(pipe: DrawAudioPipeline, waveform: np.ndarray) -> np.ndarray:
    """(128000,) 8 s of sound encoded to the posterior's mean and decoded again."""
    posterior = pipe.vae.encode(log_mel(waveform)[None, None].to(pipe.device)).latent_dist
    return pipe.decode(posterior.mean * pipe.vae.config.scaling_factor)[0]


def mean_sound(pipe: DrawAudioPipeline, waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """(128000,) the sound of the waveforms' mean log-mel."""
    mean = torch.stack([log_mel(waveform) for waveform in waveforms]).mean(dim=0)  # (T, M)
    return vocode(pipe.vocoder, mean[None].to(pipe.device))[0].cpu().numpy()


def each_once(
    waveforms: Iterable[np.ndarray], compute: Callable[[np.ndarray], Found], report: Reporter | None = None
) -> list[Found]:
    """`compute` of each waveform, once of those with the same samples, such as the mean of all sounds in every row."""
    computed: dict[bytes, Found] = {}
    found = []
    for waveform in waveforms:
        samples = sha256(np.ascontiguousarray(waveform).data).digest()
        if samples not in computed:
            computed[samples] = compute(waveform)
        found.append(computed[samples])
        if report is not None:
            report.step()
    return found


def real_onsets(real: Mapping[str, np.ndarray], report: Reporter) -> dict[str, np.ndarray]:
    """Key -> seconds of the real sound's onsets, which every row is compared with."""
    return dict(zip(real, each_once(real.values(), metrics.onset_times, report), strict=True))


def curve_and_onsets(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) loudness signal of CLIP_SECONDS, and seconds of the onsets."""
    return loudness_signal(waveform, seconds=CLIP_SECONDS), metrics.onset_times(waveform)


def defined_json(values: Any) -> bytes:
    """JSON in which an undefined value is null: NaN is no JSON."""

    def defined(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: defined(entry) for name, entry in value.items()}
        if isinstance(value, list | tuple):
            return [defined(entry) for entry in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return json.dumps(defined(values), indent=1, allow_nan=False).encode()
