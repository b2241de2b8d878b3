"""Would the tests notice? Small faults, each put into a copy of the code, and the tests that must fail on it.

    python -m tests.mutations                    all of them
    python -m tests.mutations --part 1/6         a sixth
    python -m tests.mutations --only evaluate    those whose file or fault has the word in it

A fault that no test notices is printed, and the exit code is 1; test_mutations.py keeps the table true to the code.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = (".*", "data", "build", "*.egg-info", "__pycache__", "models", "weights")
"""Of the copy: what no test reads."""
SECONDS = 300
"""After this a fault counts as noticed: the tests hang."""
LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "librosa", "dagster", "pyarrow.parquet", "pytest")
"""Loaded once; each fault is tried in a process forked from this one, which has loaded none of this project's code."""


@dataclass(frozen=True)
class Mutation:
    """One fault."""

    file: str
    old: str
    """Stands in the file exactly once."""
    new: str
    breaks: str
    """What is wrong with the fault, for whoever reads that it was not noticed."""
    tests: str
    """Arguments of pytest: the files that must notice, and where it saves time, which of their tests."""


GUIDANCE, DENOISER = (f"drawaudio_model/{name}.py" for name in ("guidance", "denoiser"))
SAMPLING = "drawaudio_model/generation/sampling.py"
PREPARING = "drawaudio_model/generation/preparing.py"
MASK_ATTENTION, LOUDNESS_CONTROL = "drawaudio_model/mask_attention.py", "drawaudio_model/loudness_control.py"
LOUDNESS, MEL, MASKS, CAVP, TEXT = (
    f"drawaudio_model/{name}.py" for name in ("loudness", "mel", "masks", "cavp", "text")
)
SHARD, DATASET = (f"drawaudio_model/{name}.py" for name in ("shard", "dataset"))
MUON = "drawaudio_model/muon.py"
OBJECTIVE, OPTIMIZERS, TRAINING_LOOP, TRAINING_PARTS = (
    f"drawaudio_model/training/{name}.py" for name in ("objective", "optimizers", "loop", "parts")
)
EVALUATE, CONTROL = (f"drawaudio_model/{name}.py" for name in ("evaluate", "control"))
SAMPLE_SOUNDS, CONTROL_ROWS = (f"drawaudio_model/evaluation/{name}.py" for name in ("sample_sounds", "control_rows"))
SIGNAL_TESTS = "tests/test_pipeline_signal.py"
STEP_TESTS = "tests/test_train_step.py -k 'not velocity'"
RESUME_TESTS = "tests/test_train_step.py -k stopped"
ORACLE_TESTS = "tests/test_evaluate_oracle.py"
CONTROL_TESTS = "tests/test_control_oracle.py"
DATASET_TESTS = "tests/test_dataset.py"

MUTATIONS = (
    # Guidance and sampling
    Mutation(
        GUIDANCE,
        "rest = 1.0 - text - video",
        "rest = 1.0 - text",
        "the branches' weights sum to more than 1",
        "tests/test_guidance.py",
    ),
    Mutation(
        GUIDANCE,
        '"text_video": float(video + loudness),',
        '"text_video": float(video),',
        "guidance by loudness takes away and adds nothing",
        "tests/test_guidance.py",
    ),
    Mutation(
        SAMPLING,
        "solver = DPMSolverMultistepScheduler.from_config(settings)",
        "solver = DPMSolverMultistepScheduler.from_config(settings, solver_order=1)",
        "the solver is of first order",
        f"{SIGNAL_TESTS} -k solver",
    ),
    Mutation(
        DENOISER,
        "frames = slice(start * VIDEO_FPS, start * VIDEO_FPS + VIDEO_FRAMES)",
        "frames = slice(0, VIDEO_FRAMES)",
        "every window of a long video sees its beginning",
        f"{SIGNAL_TESTS} -k window",
    ),
    Mutation(
        DENOISER,
        "points = slice(start * LOUDNESS_FPS, start * LOUDNESS_FPS + LOUDNESS_POINTS)",
        "points = slice(0, LOUDNESS_POINTS)",
        "every window of a long sound hears the curve's beginning",
        "tests/test_long_sounds.py -k curve_goes_on",
    ),
    Mutation(
        DENOISER,
        "signal if branch.loudness else None",
        "signal",
        "the branch without the signal hears it",
        "tests/test_denoiser.py",
    ),
    Mutation(
        DENOISER,
        "self._video(conditions, present.on(branch))",
        "self._video(conditions, present)",
        "the branches without video see it",
        "tests/test_sampling.py",
    ),
    Mutation(
        DENOISER,
        "return conditions.present.limited(self.loudness_branches)",
        "return conditions.present",
        "where the signal goes with the video, a sample without video hears it",
        "tests/test_denoiser.py tests/test_train.py -k video",
    ),
    Mutation(
        SAMPLING,
        "torch.Generator().manual_seed(seed))",
        "torch.Generator().manual_seed(seeds[0]))",
        "sounds that are sampled together start from the same noise",
        f"{SIGNAL_TESTS} -k noise",
    ),
    Mutation(
        "drawaudio_model/generation/windows.py",
        "weights[:shared] *= _ramp(shared)\n",
        "weights[:shared] *= _ramp(shared).flip(0)\n",
        "windows fade out where they shall fade in",
        "tests/test_windows.py",
    ),
    Mutation(
        "drawaudio_model/generation/windows.py",
        "step = (CLIP_SECONDS - overlap_seconds) // grid * grid",
        "step = CLIP_SECONDS // grid * grid",
        "windows do not overlap",
        "tests/test_windows.py",
    ),
    # Pipeline and instructions
    Mutation(
        "drawaudio_model/generation/latents.py",
        "pipe.vae.decode(part / pipe.vae.config.scaling_factor)",
        "pipe.vae.decode(part)",
        "latents are decoded without the autoencoder's scaling factor",
        f"{SIGNAL_TESTS} tests/test_adapters.py -k decod",
    ),
    Mutation(
        "drawaudio_model/generation/latents.py",
        "pipe.vae.encode(window).latent_dist.mean.float() * pipe.vae.config.scaling_factor",
        "pipe.vae.encode(window).latent_dist.mean.float()",
        "a sound to go on from is encoded without the autoencoder's scaling factor",
        "tests/test_pipeline_signal.py -k encoded",
    ),
    Mutation(
        PREPARING,
        "hold_last(prepared.curve, last * LOUDNESS_FPS)[",
        "np.pad(prepared.curve, (0, last * LOUDNESS_FPS - len(prepared.curve)))[",
        "behind its end a curve is silence",
        f"{SIGNAL_TESTS} -k curve",
    ),
    Mutation(
        PREPARING,
        "masked = apply_mask(held, hold_last(regions[first : first + len(frames)], length))",
        "masked = held",
        "a mask is read and not applied",
        f"{SIGNAL_TESTS} -k picture",
    ),
    Mutation(
        PREPARING,
        "text, negative = texts.select([0]), texts.select([1])",
        "text, negative = texts.select([0]), texts.select([0])",
        "the unconditional branch reads the prompt",
        "tests/test_pipeline.py -k every_instruction",
    ),
    Mutation(
        GUIDANCE,
        "own_video if self.video is None else self.video",
        "own_video",
        "the pipeline takes its own guidance whatever is asked",
        "tests/test_pipeline.py -k own",
    ),
    Mutation(
        "drawaudio_model/generation/instructions.py",
        "np.repeat(array[-1:], ",
        "np.repeat(0 * array[-1:], ",
        "behind its end an instruction is nothing",
        f"tests/test_instructions.py {SIGNAL_TESTS} -k held",
    ),
    Mutation(
        "drawaudio_model/generation/instructions.py",
        "np.floor(np.arange(count) / VIDEO_FPS * video_fps + 1e-6)",
        "np.floor(np.arange(count) + 1e-6)",
        "an array of frames is seen at another speed",
        "tests/test_instructions.py -k quarters",
    ),
    Mutation(
        "drawaudio_model/generation/candidates.py",
        "order = np.argsort(-total",
        "order = np.argsort(total",
        "the worst candidate comes first",
        "tests/test_candidates.py",
    ),
    # The modules of the paper
    Mutation(
        MASK_ATTENTION,
        "weight = self.attention(masked.mean(dim=1, keepdim=True))",
        "weight = self.attention(visual.mean(dim=1, keepdim=True))",
        "the mask's weights come from the whole frame",
        "tests/test_mask_attention.py",
    ),
    Mutation(
        MASK_ATTENTION,
        "return masked * weight + visual",
        "return masked * weight",
        "the whole frame is lost beside the mask",
        "tests/test_mask_attention.py",
    ),
    Mutation(
        MASK_ATTENTION,
        "scale = scale * keep.to(cavp.dtype).reshape(-1, 1, 1)",
        "scale = scale * torch.ones_like(keep).to(cavp.dtype).reshape(-1, 1, 1)",
        "a withheld video is seen",
        "tests/test_mask_attention.py",
    ),
    Mutation(
        LOUDNESS_CONTROL,
        "level = 20 * torch.log10(",
        "level = 10 * torch.log10(",
        "decibels are halved",
        "tests/test_loudness_control.py",
    ),
    Mutation(
        LOUDNESS_CONTROL,
        "offset = offset * keep.to(offset.dtype)[:, None, None]",
        "offset = offset * torch.ones_like(keep).to(offset.dtype)[:, None, None]",
        "a withheld signal is heard",
        "tests/test_loudness_control.py",
    ),
    Mutation(
        LOUDNESS,
        "return np.sqrt(_running_sum(",
        "return (_running_sum(",
        "the loudness signal is power instead of RMS",
        "tests/test_loudness.py",
    ),
    Mutation(
        LOUDNESS,
        "np.interp(point_times(seconds), times, levels)",
        "np.interp(point_times(seconds) + 0.1, times, levels)",
        "a drawn curve comes a tenth of a second early",
        "tests/test_loudness.py",
    ),
    Mutation(
        LOUDNESS,
        "return (0, surplus)",
        "return (surplus, 0)",
        "the loudness signal comes 54 ms late",
        "tests/test_loudness.py",
    ),
    Mutation(
        MEL,
        "return mel.clamp_min(MEL_FLOOR).log()",
        "return mel.clamp_min(MEL_FLOOR).log10()",
        "the log-mel is no natural logarithm",
        "tests/test_mel.py -k librosa",
    ),
    Mutation(
        "drawaudio_model/waveform.py",
        "\nPEAK = 0.5\n",
        "\nPEAK = 1.0\n",
        "waveforms are normalised to another peak than AudioLDM2's",
        "tests/test_mel.py -k normalised",
    ),
    Mutation(
        "drawaudio_model/boxes.py",
        "first = min(math.floor(low * size + 1e-6), size - 1)",
        "first = min(math.ceil(low * size - 1e-6), size - 1)",
        "a mask cuts the pixels at an object's edge",
        "tests/test_masks.py",
    ),
    Mutation(
        MASKS,
        "return frames * keep.to(frames.dtype)",
        "return frames * (~keep).to(frames.dtype)",
        "torch frames are black inside the mask",
        "tests/test_masks.py -k blackens",
    ),
    Mutation(
        "drawaudio_model/mask_pictures.py",
        "image = ImageOps.exif_transpose(image)",
        "image = image.copy()",
        "a mask from a telephone lies on its side",
        "tests/test_mask_pictures.py -k arrives",
    ),
    Mutation(
        "drawaudio_model/mask_pictures.py",
        "reached |= mixture & (part >= 0.5)",
        "reached |= mixture & (part >= 0.9)",
        "a soft edge belongs to the background",
        "tests/test_mask_pictures.py -k arrives",
    ),
    Mutation(
        "drawaudio_model/mask_pictures.py",
        "exact = not lossy and",
        "exact = not lossy and False and",
        "a label below half of the others is not drawn",
        "tests/test_mask_pictures.py -k arrives",
    ),
    Mutation(
        "drawaudio_model/mask_pictures.py",
        "if _surrounds(opaque):",
        "if not opaque:",
        "a hole is what is not drawn",
        "tests/test_mask_pictures.py -k arrives",
    ),
    Mutation(
        "drawaudio_model/generation/instructions.py",
        "regions, notices = ~regions, [",
        "regions, notices = regions, [",
        "an inverted mask is not inverted",
        "tests/test_mask_pictures.py -k inverted",
    ),
    Mutation(
        MASKS,
        "if found.regions.any():",
        "if found.regions.size:",
        "an empty mask changes nothing without a word",
        "tests/test_mask_pictures.py -k empty",
    ),
    Mutation(
        MASKS,
        "sorted(names, key=_natural)",
        "sorted(names)",
        "frame 10 comes before frame 2",
        "tests/test_mask_pictures.py -k numbers",
    ),
    Mutation(
        "drawaudio_model/curve_files.py",
        "level = 10 ** (level / 20)",
        "level = 10 ** (level / 10)",
        "decibels of a curve are taken for those of a power",
        "tests/test_curve_files.py",
    ),
    Mutation(
        "drawaudio_model/curve_files.py",
        "if table.faults:",
        "if not table.columns:",
        "a row with decimal commas is left out",
        "tests/test_curve_files.py",
    ),
    Mutation(
        MASKS,
        "if not boxes and whole_frame_if_empty:",
        "if not boxes and not whole_frame_if_empty:",
        "where nothing was found the picture is black",
        "tests/test_masks.py tests/test_cavp_features.py",
    ),
    Mutation(
        CAVP,
        "first = max(start - CONTEXT_FRAMES, 0)",
        "first = start",
        "chunks of a long video do not see their neighbours",
        "tests/test_cavp_features.py -k chunks",
    ),
    Mutation(
        CAVP,
        "features = features.amax(dim=1)",
        "features = features.mean(dim=1)",
        "CAVP pools by the mean instead of the maximum",
        "tests/test_cavp.py -k pooling",
    ),
    Mutation(
        "drawaudio_model/text.py",
        "attention_mask=mask.long(),",
        "attention_mask=torch.ones_like(mask.long()),",
        "GPT-2 reads the padding of shorter captions",
        "tests/test_text.py -k 'batch or padding'",
    ),
    # The dataset
    Mutation(
        "pipelines/assets/cavp_features.py",
        "np.asarray(apply_mask(frames, mask))",
        "frames",
        "the dataset's masked features are of the whole frame",
        "tests/test_cavp_features.py -k dataset",
    ),
    Mutation(
        "pipelines/assets/audio_latents.py",
        "torch.cat([posterior.mean, posterior.logvar], dim=1)",
        "torch.cat([posterior.mean, posterior.var], dim=1)",
        "latents carry a variance where a log-variance belongs",
        "tests/test_training_shards.py -k latents",
    ),
    Mutation(
        "pipelines/assets/audio_latents.py",
        'normalize_waveform(read_waveform(upstream["clip_media"], key))',
        'read_waveform(upstream["clip_media"], key)',
        "latents are of the sound as recorded, curves of the normalised one",
        "tests/test_training_shards.py -k latents",
    ),
    Mutation(
        "pipelines/assets/loudness_curves.py",
        'normalize_waveform(read_waveform(upstream["clip_media"], key))',
        'read_waveform(upstream["clip_media"], key)',
        "curves are of the sound as recorded, latents of the normalised one",
        "tests/test_training_shards.py -k curves",
    ),
    Mutation(
        "pipelines/assets/training_shards.py",
        'member(key, f"{name}.npy")',
        'member(key, f"{name[:4]}.npy" if "masked" in name else f"{name}.npy")',
        "samples have the whole frames' features as the masked ones",
        "tests/test_training_shards.py -k feature",
    ),
    Mutation(
        "pipelines/assets/training_shards.py",
        '"whole_frame_mask": not any(boxes),',
        '"whole_frame_mask": any(boxes),',
        "clips with a box are flagged as without",
        "tests/test_training_shards.py -k feature",
    ),
    Mutation(
        "pipelines/assets/training_shards.py",
        "if key not in rows:",
        "if not rows:",
        "a clip that was taken back becomes a sample",
        "tests/test_training_shards.py -k feature",
    ),
    Mutation(
        "pipelines/assets/captions.py",
        "best = candidates[0]",
        "best = candidates[-1]",
        "the caption is what fits the sound worst",
        "tests/test_captions.py -k records",
    ),
    Mutation(
        "pipelines/assets/captions.py",
        "Caption(label_sentence(label), LABEL_ONLY)",
        "Caption(label_sentence(label), rows[key].source)",
        "a label's sentence passes as a caption that came with the clip",
        "tests/test_captions.py -k without_weights",
    ),
    Mutation(
        "pipelines/assets/object_masks.py",
        "box.confidence > surest[box.frame].confidence",
        "box.confidence < surest[box.frame].confidence",
        "the detector is judged by its least sure box",
        "tests/test_object_masks.py -k surest",
    ),
    Mutation(
        "drawaudio_model/detector.py",
        "Box(frame, usable[clip][phrase], *rest)",
        "Box(frame, phrase, *rest)",
        "boxes are given to other phrases than those they were found for",
        "tests/test_detector_phrases.py",
    ),
    Mutation(
        "drawaudio_model/text.py",
        "return self.t5[index][self.t5_mask[index]]",
        "return self.t5[index]",
        "samples hold the padding of their caption's batch",
        "tests/test_text.py -k collate",
    ),
    Mutation(
        "drawaudio_model/text.py",
        "positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)",
        "positions = torch.arange(mask.shape[1]).expand(mask.shape)",
        "padding shifts the positions of GPT-2's input",
        "tests/test_text.py -k batch",
    ),
    Mutation(
        "pipelines/assets/clip_list.py",
        "*sorted(new)]",
        "*sorted(new)[:0]]",
        "takedowns of the lists do not reach the loader",
        "tests/test_youtube_lists.py -k asset_writes",
    ),
    Mutation(
        SHARD,
        'key in excluded or key.rpartition("_")[0] in excluded',
        "key in excluded",
        "a takedown of a video leaves its clips",
        "tests/test_youtube_lists.py -k exclude",
    ),
    Mutation(
        DATASET,
        'reasons = {key: "excluded" for key in keys if is_excluded(key, excluded)}',
        "reasons = {}",
        "clips that were taken back are learnt from",
        "tests/test_youtube_lists.py -k loader",
    ),
    Mutation(
        SAMPLE_SOUNDS,
        "for key in reader.keys if not is_excluded(key, excluded)",
        "for key in reader.keys",
        "clips that were taken back are evaluated",
        "tests/test_youtube_lists.py -k loader",
    ),
    # The shards' transaction
    Mutation(
        SHARD,
        "if manifest is None or manifest.inputs != self.inputs:",
        "if manifest is None:",
        "a shard is not made again when its inputs change",
        "tests/test_shard.py -k inputs",
    ),
    Mutation(
        SHARD,
        "if complete != written:",
        "if not written:",
        "a torn line of the journal stays and swallows the next one",
        "tests/test_shard.py -k torn",
    ),
    Mutation(
        SHARD,
        "os.truncate(samples, max(kept, default=0))",
        "os.truncate(samples, 0)",
        "after a kill the clips that were done are lost",
        "tests/test_shard.py -k torn",
    ),
    Mutation(
        SHARD,
        'kept = sorted((row for row in self._journal.values() if "sizes" in row), key=lambda row: row["key"])',
        'kept = [row for row in self._journal.values() if "sizes" in row]',
        "the order of work decides a shard's bytes",
        "tests/test_shard.py -k order",
    ),
    Mutation(
        SHARD,
        "        if end <= samples_bytes:",
        "        if True:",
        "what a power cut took from the staged samples is committed as zeros",
        "tests/test_shard.py -k shortened",
    ),
    Mutation(
        SHARD,
        "or file_sha256(tar) != manifest.sha256 or manifest.schema",
        "or manifest.schema",
        "a shard with a flipped bit is never made again",
        "tests/test_shard.py -k damaged_shard",
    ),
    Mutation(
        SHARD,
        "if len(content) != size or crc32 not in (None, zlib.crc32(content)):",
        "if False:",
        "damaged bytes are handed to the next asset",
        "tests/test_shard.py -k handed_on",
    ),
    Mutation(
        SHARD,
        '    check_keys(set(table["key"].to_pylist()), path)\n',
        "",
        "a key of a foreign shard leads out of the folder",
        "tests/test_foreign_shards.py -k leads_out",
    ),
    Mutation(
        SHARD,
        "    if manifest.shard != shard:",
        "    if False:",
        "a foreign manifest names another shard's files",
        "tests/test_foreign_shards.py -k names_other",
    ),
    Mutation(
        "drawaudio_model/atomic_files.py",
        "{secrets.token_hex(4)}.",
        "",
        "two writers of one file write into one another's half",
        "tests/test_atomic_files.py -k two_writers",
    ),
    Mutation(
        "drawaudio_model/atomic_files.py",
        "        _lock(handle)\n",
        "",
        "two writers of one folder take what the other has written for their own",
        "tests/test_atomic_files.py -k second_writer",
    ),
    Mutation(
        "drawaudio_model/metrics/bootstrap.py",
        "if found.count == 0 or not np.isin(defined, (0.0, 1.0)).all():",
        "if True:",
        "five of five clips are as sure as five hundred",
        "tests/test_metrics.py -k wilson",
    ),
    Mutation(
        "drawaudio_model/release/publish.py",
        "if not public and not hub.dataset_info(name).private:",
        "if False:",
        "a public dataset is filled without a question",
        "tests/test_publish.py -k public_dataset",
    ),
    Mutation(
        "drawaudio_model/generation/takes.py",
        'if prepared.negative_prompt and "uncond" not in guidance.branches:',
        "if False:",
        "a negative prompt without a weight is not told of",
        "tests/test_pipeline.py -k nothing_hears",
    ),
    Mutation(
        SHARD,
        "while len(_OPEN) > MOST_OPEN:",
        "while False:",
        "a thousand shards are a thousand open files",
        "tests/test_dataset.py -k more_shards",
    ),
    Mutation(
        TRAINING_LOOP,
        "decay = min(self.decay, (1 + step) / (10 + step))",
        "decay = min(0.9 * self.decay, (1 + step) / (10 + step))",
        "the weights' average decays faster than the run says",
        "tests/test_train.py -k warms_up",
    ),
    # The loader
    Mutation(
        DATASET,
        "first = start_seconds * latent_frames // SOURCE_SECONDS",
        "first = 0",
        "latents are always of the clip's beginning",
        f"{DATASET_TESTS} -k second",
    ),
    Mutation(
        DATASET,
        '"no_text": both or text,',
        '"no_text": text,',
        "text is kept where text and video shall be withheld",
        f"{DATASET_TESTS} -k coins",
    ),
    Mutation(
        DATASET,
        "log_variance.clamp_(-30.0, 20.0).mul_(0.5).exp_()",
        "log_variance.clamp_(-30.0, 20.0).exp_()",
        "the posterior is sampled with its variance as deviation",
        f"{DATASET_TESTS} -k posterior",
    ),
    Mutation(
        DATASET,
        "first = (micro * self.process_count + self.process_index) * self.width",
        "first = micro * self.process_count * self.width",
        "all processes learn from the same samples",
        f"{DATASET_TESTS} -k processes",
    ),
    Mutation(
        DATASET,
        "np.random.default_rng([seed, epoch]).permutation(count)",
        "np.random.default_rng([seed]).permutation(count)",
        "every epoch has the same order",
        f"{DATASET_TESTS} -k every_epoch",
    ),
    # Training
    Mutation(
        OBJECTIVE,
        "latent = batch.latent * scaling_factor",
        "latent = batch.latent",
        "latents are learnt without the autoencoder's scaling factor",
        STEP_TESTS,
    ),
    Mutation(
        DENOISER,
        "return torch.where(visible[:, None, None], features, null)",
        "return features",
        "a withheld mask is seen",
        "tests/test_train.py -k withheld",
    ),
    Mutation(
        TEXT,
        "torch.where(here[..., None], own.gpt, null.gpt),",
        "own.gpt,",
        "a withheld text is read",
        "tests/test_train.py -k withheld",
    ),
    Mutation(
        "drawaudio_model/training/checkpoint.py",
        "    for step in reversed(_steps(folder)):",
        "    for step in reversed(_steps(folder)[-1:]):",
        "a damaged checkpoint ends the run although an older one is whole",
        "tests/test_train.py -k passed_over",
    ),
    Mutation(
        "drawaudio_model/training/checkpoint.py",
        "if files is not None and file_sha256(file) != files[file.name]:",
        "if False:",
        "a run goes on from weights with a flipped bit",
        "tests/test_train.py -k passed_over",
    ),
    Mutation(
        "drawaudio_model/training/checkpoint.py",
        "            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        "two trainings write into one state folder",
        "tests/test_train.py -k share_a_state",
    ),
    Mutation(
        TRAINING_LOOP,
        "        return torch.where(counted, losses, 0.0).sum() * processes / batch",
        "        return losses.sum() * processes / batch",
        "samples that fill up an uneven step count twice",
        "tests/test_train.py -k does_not_divide",
    ),
    Mutation(
        "drawaudio_model/parent_process.py",
        "        while _runs(int(number)) and os.getppid() == parent:",
        "        while os.getppid() == parent:",
        "a training goes on after its orchestrator was killed",
        "tests/test_parent_process.py",
    ),
    Mutation(
        "drawaudio_model/parent_process.py",
        "        while _runs(int(number)) and os.getppid() == parent:",
        "        while _runs(int(number)):",
        "a training goes on after torchrun was killed",
        "tests/test_parent_process.py",
    ),
    Mutation(
        "drawaudio_model/atomic_files.py",
        "if free is not None and not os.path.lexists(folder):",
        "if free is not None:",
        "what several killed writers left stays for ever",
        "tests/test_atomic_files.py -k killed_writers",
    ),
    Mutation(
        "drawaudio_model/model_folder.py",
        "for name, value in content.items() if name not in PLACES}",
        "for name, value in content.items()}",
        "a model is named by the folder that its parts were loaded from",
        "tests/test_pipeline.py -k equal_models",
    ),
    Mutation(
        "drawaudio_model/decoding/container.py",
        '"none" if isinstance(source, bytes) else "file"',
        '"file,udp,rtp,tcp,http"',
        "a file that names a stream keeps FFmpeg waiting for the network",
        "tests/test_decoding_container.py -k names_a_stream",
    ),
    Mutation(
        CONTROL,
        "float(obeys_all and is_on_time(onsets))",
        "float(obeys_all)",
        "a clip is right at once whose onsets are not",
        "tests/test_control.py -k right_at_once",
    ),
    Mutation(
        CONTROL,
        "obeys_all = right and obeys(",
        "obeys_all = obeys(",
        "a clip is right in all in which the wrong thing sounds",
        "tests/test_control.py -k right_at_once",
    ),
    Mutation(
        TRAINING_LOOP,
        "return losses.mean() / self.micro_batches",
        "return losses.mean()",
        "micro-batches are summed instead of averaged",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "min_snr_weights(self.schedule, timesteps, config.min_snr_gamma)",
        "min_snr_weights(self.schedule, timesteps, None)",
        "the loss has no min-SNR weights",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "null_rates=self.config.null_rates(),",
        "null_rates=None,",
        "instructions are never withheld",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "rate = learning_rate(self.config, self.step)",
        "rate = self.config.learning_rate",
        "the learning rate has no schedule",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "accelerator.clip_grad_norm_(self.parameters.values(), config.gradient_clip)",
        "accelerator.clip_grad_norm_(self.parameters.values(), 1e9)",
        "gradients are not clipped",
        STEP_TESTS,
    ),
    Mutation(
        OPTIMIZERS,
        '"weight_decay": config.weight_decay,',
        '"weight_decay": 0.0,',
        "weights do not decay",
        STEP_TESTS,
    ),
    Mutation(
        OPTIMIZERS,
        '"betas": (config.adam_beta1, config.adam_beta2),',
        "",
        "AdamW's own decays are used whatever the settings say",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "MovingAverage(self.parameters, config.ema_decay)",
        "MovingAverage(self.parameters, 0.9999)",
        "the averaged weights have another decay",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "decay = min(self.decay, (1 + step) / (10 + step))",
        "decay = self.decay",
        "the averaged weights hold the random start for long",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "parameter.data, self.average[name] = self.average[name], parameter.data",
        "pass",
        "validation and the finished model have un-averaged weights",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "with self.average.in_use():",
        "with nullcontext():",
        "validation alone has un-averaged weights",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "first = (micro * accelerator.num_processes + accelerator.process_index) * self.width",
        "first = 0",
        "all micro-batches of a step have the same noise",
        STEP_TESTS,
    ),
    Mutation(
        TRAINING_LOOP,
        "self.average.average[name].copy_(value)",
        "value",
        "a continued run forgets its averaged weights",
        RESUME_TESTS,
    ),
    Mutation(
        MUON,
        "ahead = weight.grad.lerp(momentum, MOMENTUM)  # Nesterov's",
        "ahead = momentum",
        "Muon steps along its momentum alone, not ahead of it",
        "tests/test_optimizers.py -k schedule",
    ),
    Mutation(
        MUON,
        "            self.param_groups += self._adamw.param_groups",
        "            pass",
        "a change of the learning rate does not reach what Muon leaves to AdamW",
        "tests/test_optimizers.py -k reaches_both",
    ),
    Mutation(
        MUON,
        "            self._adamw.state = self.state",
        "            pass",
        "a run of Muon that goes on forgets what AdamW knew",
        "tests/test_optimizers.py -k stopped",
    ),
    Mutation(
        TRAINING_LOOP,
        "self.optimizer.state[self.parameters[name]][kind] = placed",
        'self.optimizer.state[self.parameters[name]][kind] = placed * (kind != "exp_avg")',
        "a continued run forgets AdamW's moments",
        RESUME_TESTS,
    ),
    Mutation(
        "drawaudio_model/training/checkpoint.py",
        "            if step <= last_step:",
        "            if step < last_step:",
        "a continued run's log lacks a step",
        RESUME_TESTS,
    ),
    Mutation(
        "drawaudio_model/training/checkpoint.py",
        "number <= step][:-keep]",
        "number <= step][keep:]",
        "the newest checkpoints are deleted and the oldest kept",
        "tests/test_train_step.py -k newest",
    ),
    Mutation(
        TRAINING_PARTS,
        "        **config.guidance().settings(),\n",
        "",
        "a trained model samples with the paper's guidance instead of its own",
        "tests/test_train_settings.py",
    ),
    Mutation(
        TRAINING_PARTS,
        '    schedule = NOISE_SCHEDULE | {"prediction_type": config.prediction}',
        "    schedule = NOISE_SCHEDULE",
        "a model that predicts velocity is sampled as if it were noise",
        "tests/test_train_settings.py",
    ),
    # Evaluation
    Mutation(
        SAMPLE_SOUNDS,
        "stacked(sample.loudness[:LOUDNESS_POINTS] for sample in samples)",
        "stacked(sample.loudness[10 : LOUDNESS_POINTS + 10] for sample in samples)",
        "the curve that is given is one second early",
        ORACLE_TESTS,
    ),
    Mutation(
        EVALUATE,
        "own_curves = {sample.key: sample.loudness[:LOUDNESS_POINTS] for",
        "own_curves = {sample.key: sample.loudness[10 : LOUDNESS_POINTS + 10] for",
        "sounds are compared with a curve one second off",
        ORACLE_TESTS,
    ),
    Mutation(
        SAMPLE_SOUNDS,
        "cavp_masked=stacked(sample.cavp_masked[:VIDEO_FRAMES] for sample in samples),",
        "cavp_masked=None,",
        "the evaluation generates without masks",
        ORACLE_TESTS,
    ),
    Mutation(
        SAMPLE_SOUNDS,
        "run.guidance,\n                seeds",
        "pipe.own_guidance,\n                seeds",
        "the evaluation ignores the guidance that was asked for",
        ORACLE_TESTS,
    ),
    Mutation(
        EVALUATE,
        "settings.guidance.resolved(self.pipe.own_guidance)",
        "self.pipe.own_guidance",
        "the report has the model's own guidance whatever was asked for",
        ORACLE_TESTS,
    ),
    Mutation(
        SAMPLE_SOUNDS,
        "seeds=[clip_seed(run.seed, sample.key) for sample in together],",
        "seeds=[clip_seed(run.seed, samples[0].key) for _ in together],",
        "all clips of a report start from the same noise",
        ORACLE_TESTS,
    ),
    Mutation(
        SAMPLE_SOUNDS,
        "for start in range(0, len(samples), batch):",
        "for start in range(0, len(samples) - batch, batch):",
        "the row of the autoencoder lacks the last clips",
        ORACLE_TESTS,
    ),
    Mutation(
        SAMPLE_SOUNDS,
        "pipe.decode(means.to(pipe.device) * pipe.vae.config.scaling_factor)",
        "pipe.decode(means.to(pipe.device))",
        "the row of the autoencoder decodes latents that were not scaled",
        ORACLE_TESTS,
    ),
    Mutation(
        SAMPLE_SOUNDS,
        "normalize_waveform(decode_flac(sample.flac))[:CLIP_SAMPLES]",
        "normalize_waveform(decode_flac(sample.flac))[-CLIP_SAMPLES:]",
        "the real sound is the clip's last 8 s",
        ORACLE_TESTS,
    ),
    Mutation(
        EVALUATE,
        "metrics.match_onsets(expected[key], made)",
        "metrics.match_onsets(made, made)",
        "a sound's onsets are compared with themselves",
        ORACLE_TESTS,
    ),
    Mutation(
        "drawaudio_model/evaluation/report.py",
        'statistic, interval = "median", metrics.bootstrap_interval(values, statistic=np.median, seed=seed)',
        'statistic, interval = "median", metrics.bootstrap_interval(values, seed=seed)',
        "the report's medians are means",
        ORACLE_TESTS,
    ),
    Mutation(
        EVALUATE,
        '"value": metrics.frechet_distance(reference, features),',
        '"value": metrics.frechet_distance(features, features),',
        "every distance to the real sounds is zero",
        ORACLE_TESTS,
    ),
    # The control benchmark
    Mutation(
        CONTROL,
        "commanded, reference, events = scene.curve(row),",
        "commanded, reference, events = scene.sample.loudness[:80],",
        "another clip's curve is commanded and the clip's own is measured against",
        CONTROL_TESTS,
    ),
    Mutation(
        CONTROL_ROWS,
        "return self.other_events if row.asks_for_the_other else self.events",
        "return self.events",
        "the other thing's sound is held against what the first is seen to do",
        "tests/test_control.py -k picture_of_the_thing",
    ),
    Mutation(
        "pipelines/assets/object_masks.py",
        "if MASKS_MEMBER in reader.members(key):",
        "if False:",
        "a pixel mask from a file becomes the box around it",
        "tests/test_own_files.py -k arrive",
    ),
    Mutation(
        "drawaudio_model/mask_rle.py",
        "return flat.reshape(width, height).T",
        "return flat.reshape(height, width)",
        "COCO's runs are read along the rows",
        "tests/test_mask_rle.py",
    ),
    Mutation(
        CONTROL,
        "metrics.match_onsets(self.onsets[reference], made)",
        "metrics.match_onsets(self.onsets[scene.key], made)",
        "another clip's curve is commanded and the clip's own onsets are expected",
        CONTROL_TESTS,
    ),
    Mutation(
        CONTROL,
        "metrics.envelope_l1(self.real[reference], sound)",
        "metrics.envelope_l1(self.real[scene.key], sound)",
        "another clip's curve is commanded and the clip's own envelope is expected",
        CONTROL_TESTS,
    ),
    Mutation(
        CONTROL_ROWS,
        "return self.donor.loudness[:LOUDNESS_POINTS]",
        "return self.sample.loudness[:LOUDNESS_POINTS]",
        "the row with another clip's curve has the clip's own",
        CONTROL_TESTS,
    ),
    Mutation(
        CONTROL_ROWS,
        'return {"shuffled": self.donor.key, ',
        'return {"shuffled": self.key, ',
        "the row with another clip's curve is judged by the clip's own sound",
        CONTROL_TESTS,
    ),
    Mutation(
        CONTROL_ROWS,
        "cavp_masked=None if row.mask is None else",
        "cavp_masked=None if row.mask else",
        "rows with a mask have none",
        CONTROL_TESTS,
    ),
    Mutation(
        "drawaudio_model/evaluation/control_goals.py",
        "[own[key] * other[key] for key in own if key in other]",
        "[own[key] for key in own if key in other]",
        "a mask counts as swapped when the first thing sounds",
        "tests/test_control.py -k swaps",
    ),
    # Metrics
    Mutation(
        "drawaudio_model/metrics/onset_f1.py",
        "PEAK_DELTA = 0.3",
        "PEAK_DELTA = 0.2",
        "onsets are counted at another threshold than the literature's",
        "tests/test_metrics.py -k stand_out",
    ),
    Mutation(
        "drawaudio_model/metrics/onset_f1.py",
        "WINDOW_SECONDS = 0.1",
        "WINDOW_SECONDS = 0.3",
        "an onset hits within 0.3 s where the report says 0.1",
        "tests/test_metrics.py -k onsets_are",
    ),
    Mutation(
        "drawaudio_model/metrics/lag.py",
        "return best_shift / rate_hz",
        "return -best_shift / rate_hz",
        "what comes late is reported as early",
        "tests/test_metrics.py -k lag",
    ),
    Mutation(
        "drawaudio_model/metrics/loudness_error_db.py",
        "np.abs(difference - np.median(difference))",
        "np.abs(difference)",
        "the error counts the overall level",
        "tests/test_metrics.py -k loudness_error",
    ),
    Mutation(
        "drawaudio_model/metrics/kl_divergence.py",
        "divergence = reference * (log_reference",
        "divergence = generated * (log_reference",
        "the divergence is taken the other way round",
        "tests/test_metrics.py -k kl",
    ),
    # Mixing
    Mutation(
        "drawaudio_model/levels/mixdown.py",
        "stem.astype(np.float64) * 10 ** (gain_db / 20)",
        "stem.astype(np.float64) * 10 ** (gain_db / 10)",
        "a gain acts twice",
        "tests/test_mixing.py",
    ),
    Mutation(
        "drawaudio_model/levels/mixdown.py",
        "limited, gain = limit(total, ceiling_db=ceiling_db)",
        "limited, gain = total, 1.0",
        "a mix is not limited",
        "tests/test_mixing.py",
    ),
    Mutation(
        "drawaudio_model/levels/limiter.py",
        "channels = np.atleast_2d(waveform.T)",
        "channels = np.atleast_2d(waveform.T)[:1]",
        "the limiter listens to the left alone",
        "tests/test_mixing.py -k channels",
    ),
    # Sections and deliveries
    Mutation(
        SAMPLING,
        "latents = torch.where(kept > step / len(remaining), at_level(timestep), latents)",
        "pass",
        "a section is sampled without what is kept beside it",
        "tests/test_sections.py -k 'goes_on or joins'",
    ),
    Mutation(
        SAMPLING,
        "begin = len(solver.timesteps) - given.steps(len(solver.timesteps))",
        "begin = 0",
        "the strength of a given sound changes nothing",
        "tests/test_preparing.py -k begin_with",
    ),
    Mutation(
        "drawaudio_model/generation/sections.py",
        "out = whole.copy()\n",
        "out = whole * np.float32(1.0001)\n",
        "samples outside a section change",
        "tests/test_sections.py -k bit_equal",
    ),
    Mutation(
        PREPARING,
        "regions[first : first + len(frames)]",
        "regions[: len(frames)]",
        "a section sees the mask of the sound's beginning",
        "tests/test_preparing.py -k section_needs",
    ),
    Mutation(
        "drawaudio_model/muxing/timecode.py",
        "(passed - passed // 10)",
        "passed",
        "drop frame leaves labels out in the tenth minutes, too",
        "tests/test_wave_file.py -k 'label or drop'",
    ),
    # The studio
    Mutation(
        "drawaudio_model/studio/guard.py",
        "if host not in self.hosts:",
        "if not host:",
        "a name of the web that points here reaches the studio",
        "tests/test_studio_guard.py -k name_of_the_web",
    ),
    Mutation(
        "drawaudio_model/studio/guard.py",
        'if site != "same-origin" and not',
        'if site not in ("same-origin", "same-site") and not',
        "a page on another port of this machine may draw",
        "tests/test_studio_guard.py -k ask_for_itself",
    ),
    Mutation(
        "drawaudio_model/studio/guard.py",
        "        if seen > limit:",
        "        if False:",
        "a body that states no length has no end",
        "tests/test_studio_guard.py -k without_a_length",
    ),
    Mutation(
        "drawaudio_model/studio/project.py",
        'if revision != self.document["revision"]:',
        "if revision < 0:",
        "a second tab overwrites the first",
        "tests/test_studio_project.py -k second_tab",
    ),
    Mutation(
        "drawaudio_model/studio/project.py",
        'write_atomically(self.folder / "project.json", _encoded(new))',
        '(self.folder / "project.json").write_bytes(_encoded(new))',
        "a save that is killed leaves half a document",
        "tests/test_studio_project.py -k killed_save",
    ),
    Mutation(
        "drawaudio_model/studio/drawing.py",
        "rows = covered_pixels(min(y0, y1), max(y0, y1), height)",
        "rows = slice(round(min(y0, y1) * height), round(max(y0, y1) * height))",
        "a box of the studio is not the box of the commands",
        "tests/test_studio_drawing.py",
    ),
    Mutation(
        "drawaudio_model/studio/drawing.py",
        "levels = np.where(decibels <= SILENCE_DB, 0.0, 10 ** (decibels / 20))",
        "levels = 10 ** (decibels / 20)",
        "the lowest line of a curve is heard",
        "tests/test_studio_drawing.py",
    ),
    Mutation(
        "drawaudio_model/studio/drawing.py",
        'share = (frame - here["frame"]) / (after["frame"] - here["frame"])',
        "share = 0.0",
        "a linear keyframe of a mask holds",
        "tests/test_studio_drawing.py -k linear",
    ),
    Mutation(
        "drawaudio_model/studio/following.py",
        "np.minimum(gone, stays).mean(axis=1) + np.minimum(come, there).mean(axis=1)",
        "gone.mean(axis=1) + come.mean(axis=1)",
        "a loose box follows its background",
        "tests/test_studio_following.py -k loose",
    ),
    Mutation(
        "drawaudio_model/studio/following.py",
        "if matched is not None:",
        "if False:",
        "a mask that follows a flat thing stays behind",
        "tests/test_studio_following.py -k flat",
    ),
    Mutation(
        "drawaudio_model/studio/media_view.py",
        "tick = max(round(time * TICKS), last + 1)",
        "tick = len(times) * TICKS // 25",
        "a proxy shows frames at a steady rate that the video does not have",
        "tests/test_studio_media_view.py",
    ),
    Mutation(
        "drawaudio_model/studio/export.py",
        'if track["take"] is not None and (track["solo"] if solos else not track["mute"])',
        'if track["take"] is not None and not track["mute"]',
        "a solo is exported with all the others",
        "tests/test_studio_jobs.py -k what_is_heard",
    ),
    Mutation(
        "drawaudio_model/studio/guard.py",
        'for name in ("origin", "sec-fetch-site"):',
        'for name in ("origin",):',
        "a page of the web may ask the service for programs",
        "tests/test_studio_service.py -k page_of_the_web",
    ),
    Mutation(
        "drawaudio_model/studio/worker.py",
        "            self.check(job)\n            now, stage =",
        "            now, stage =",
        "a job of the studio is not cancelled before it has run to its end",
        "tests/test_studio_worker.py -k cancelled",
    ),
    Mutation(
        "drawaudio_model/studio/server.py",
        'DRAFT_STEPS if asked.get("draft") is True else',
        "DRAFT_STEPS if False else",
        "a draft of the studio takes as long as a take",
        "tests/test_studio_jobs.py -k draft",
    ),
    Mutation(
        "drawaudio_model/generation/preparations.py",
        "return fingerprint({name: str(value) for name, value in arguments.items()}, marks)",
        "return fingerprint({name: str(value) for name, value in arguments.items()})",
        "a mask that was drawn anew is not seen",
        "tests/test_preparations.py -k anew",
    ),
    Mutation(
        "drawaudio_model/generation/take_files.py",
        "if made_by not in (None, model_sha256):",
        "if made_by is model_sha256 is None:",
        "a section goes on from the latents of another model",
        "tests/test_regenerate.py -k another_model",
    ),
    Mutation(
        "drawaudio_model/generation/sections.py",
        "return mixed * (1 + part * rise)",
        "return mixed * (1 + rise)",
        "a fade swells beyond full scale",
        "tests/test_sections.py -k swell_beyond",
    ),
    Mutation(
        "drawaudio_model/muxing/timecode.py",
        "number += left_out * (9 * tens +",
        "number += left_out * (10 * tens +",
        "labels of drop frame leave one minute in ten too many out",
        "tests/test_wave_file.py -k label",
    ),
    # The command line
    Mutation(
        "drawaudio_model/command_line.py",
        "return 1 if isinstance(error, FloatingPointError) else 2",
        "return 1",
        "wrong input ends as a training that diverged",
        "tests/test_front_door.py -k 'mistake and folder'",
    ),
    Mutation(
        "drawaudio_model/evaluation/arguments.py",
        "import argparse",
        "import torch, argparse",
        "every help waits for torch",
        "tests/test_front_door.py -k no_help",
    ),
    Mutation(
        "drawaudio_model/commands/completion.py",
        "action.complete = shtab.FILE",
        "action.complete = None",
        "a shell completes no file",
        "tests/test_front_door.py -k bash",
    ),
    Mutation(
        "drawaudio_model/patch_autoencoder.py",
        "functional.softplus(mel - knee)",
        "(mel - knee).clamp_min(0)",
        "all that lies below the knee comes back as silence",
        "tests/test_patch_autoencoder.py -k knee",
    ),
    Mutation(
        "drawaudio_model/decoding/clock.py",
        "* packet.time_base > leap\n",
        "* packet.time_base > LONG_LEAP_SECONDS\n",
        "a joined program stream holds a picture for as long as its clock leaps",
        "tests/test_decoding_clock.py -k program_streams",
    ),
    Mutation(
        "drawaudio_model/decoding/clock.py",
        "            packet.pts = None  # A decoder",
        "            packet.pts = packet.dts  # A decoder",
        "the last picture of a joined part is copied onto the one before it",
        "tests/test_muxing.py -k program_streams",
    ),
    Mutation(
        "drawaudio_model/muxing/copied_picture.py",
        "(picture.sample_aspect_ratio or 1) == ratio",
        "picture.sample_aspect_ratio == ratio",
        "pictures of square pixels are copied a second time",
        "tests/test_muxing.py -k cannot_tell",
    ),
    Mutation(
        "drawaudio_model/muxing/containers.py",
        "min(distances) > TIME_TOLERANCE_SECONDS",
        "min(distances) > 3600",
        "pictures may arrive at any time",
        "tests/test_muxing.py -k cannot_tell",
    ),
    Mutation(
        "drawaudio_model/muxing/layered_head.py",
        "if unit[0] >> 1 & 63 in _SETS and",
        "if unit[0] >> 1 & 63 in () and",
        "HEVC loses its transparency without a word",
        "tests/test_muxing.py -k layer_of_hevc",
    ),
    Mutation(
        "drawaudio_model/decoding/clock.py",
        "            moved = max(gaps)",
        "            moved = min(gaps)",
        "of joined files, the later part's sound lies over the earlier one's",
        "tests/test_decoding_clock.py -k pieces",
    ),
    Mutation(
        "drawaudio_model/decoding/clock.py",
        "return since_begin < -limits[0] or since_end > limits[1]",
        "return since_end > limits[1]",
        "a clock that restarts goes unnoticed",
        "tests/test_decoding_clock.py -k joined",
    ),
    Mutation(
        "drawaudio_model/decoding/clock.py",
        "            packet.pts = None if packet.pts is None else packet.pts + ticks",
        "            packet.pts = None if packet.pts is None else packet.pts + 2 * ticks",
        "joined parts are moved too far",
        "tests/test_decoding_clock.py -k joined",
    ),
    Mutation(
        "drawaudio_model/decoding/reading.py",
        "sound.zero = None if times.picture is None else times.picture[0]",
        "sound.zero = None",
        "a curve of a video begins with the sound, not with the picture",
        "tests/test_decoding_clock.py -k waveform",
    ),
    Mutation(
        "drawaudio_model/decoding/lengths.py",
        "    if missing is not None and ends_early(source):",
        "    if missing is not None:",
        "a false length in a header refuses a whole file",
        "tests/test_decoding_lengths.py -k false_length",
    ),
    Mutation(
        "drawaudio_model/decoding/lengths.py",
        "                return _segment_end(head), length",
        "                return 0, length",
        "a Matroska file that was cut off is taken for whole",
        "tests/test_decoding_lengths.py -k early",
    ),
    Mutation(
        "drawaudio_model/decoding/lengths.py",
        "        if claimed - max(held, last) > MISSING_SECONDS:",
        "        if claimed - held > MISSING_SECONDS:",
        "a file whose clock starts at an hour is flagged as of another length",
        "tests/test_decoding_lengths.py -k hour",
    ),
    Mutation(
        "drawaudio_model/decoding/sound.py",
        "CANCELLED_SHARE = 0.01",
        "CANCELLED_SHARE = 0.0",
        "left and right that cancel are silence",
        "tests/test_decoding_sound.py -k give_way",
    ),
    Mutation(
        "drawaudio_model/decoding/sound.py",
        "                sums[weights] = sums.get(weights, 0) + powers[:, inside].sum(axis=1)",
        "                sums[weights] = sums.get(weights, 0) + powers.sum(axis=1)",
        "whether channels cancel is judged by the neighbours of a clip, too",
        "tests/test_decoding_sound.py -k only_the_clips",
    ),
    Mutation(
        "drawaudio_model/decoding/sound.py",
        "            self._converter = AudioResampler(format=kind[0], layout=kind[1], rate=self.rate)",
        "            self._converter = AudioResampler(format=kind[0], layout=kind[1], rate=frame.sample_rate)",
        "sound that changes its rate changes its pitch",
        "tests/test_decoding_sound.py -k pitch",
    ),
    Mutation(
        "drawaudio_model/decoding/container.py",
        "        streams = [stream for stream in streams if not _is_still(stream)] or streams",
        "        pass",
        "a thumbnail is the picture of a clip",
        "tests/test_decoding_container.py -k thumbnail",
    ),
    Mutation(
        "drawaudio_model/decoding/container.py",
        'LATE_STREAM_FORMATS = {"mpegts", "mpeg", "flv"}',
        'LATE_STREAM_FORMATS = {"mpegts", "mpeg"}',
        "sound that first appears in mid-file is not there",
        "tests/test_decoding_clock.py -k announce",
    ),
    Mutation(
        "drawaudio_model/decoding/reading.py",
        "            picture.repeat(packet)  # A decoder would take it for the end of all.",
        "            _feed(fed, packet)",
        "an empty packet ends the picture",
        "tests/test_decoding_lengths.py -k no_bytes",
    ),
    Mutation(
        "drawaudio_model/decoding/errors.py",
        "    except Exception as error:",
        "    except IndexError as error:",
        "an error that nobody has thought of ends the command",
        "tests/test_decoding_container.py -k whatever",
    ),
    Mutation(
        "drawaudio_model/decoding/reading.py",
        "        except MemoryError:\n            raise  # One of FFmpeg's, too, and nothing is wrong with the frame.\n",
        "",
        "a machine without memory calls a file damaged",
        "tests/test_decoding_container.py -k memory",
    ),
    Mutation(
        "drawaudio_model/decoding/tracks.py",
        "            frames[self._filled[index] :] = self._last_rgb()",
        "            frames[self._filled[index] :] = 0",
        "behind the end of the picture everything is black",
        "tests/test_media.py -k padded",
    ),
    Mutation(
        "pipelines/assets/clip_media.py",
        "        together=_source,\n",
        "",
        "a long file is decoded once for every group of its clips",
        "tests/test_clip_media.py -k once",
    ),
    Mutation(
        "pipelines/assets/clip_media.py",
        "        with only_media_errors():  # Also around what is made of the frames.\n",
        "        if True:\n",
        "one file stops the shard",
        "tests/test_clip_media.py -k never_stops",
    ),
    Mutation(
        "pipelines/raw_media.py",
        "    if version not in hashes:",
        "    if version:",
        "a long file is hashed once for every one of its clips",
        "tests/test_clip_media.py -k once",
    ),
)


def changed_text(mutation: Mutation) -> str:
    """The file's text with the fault in it.

    Raises:
        ValueError: when its old text does not stand in the file exactly once.
    """
    path = ROOT / mutation.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = text.count(mutation.old)
    if found != 1:
        raise ValueError(
            f"{mutation.old!r} stands in {mutation.file} {found} times, expected once; bring the fault {mutation.breaks!r} "
            "of tests/mutations.py up to date"
        )
    return text.replace(mutation.old, mutation.new)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the faults; returns the exit code: 1 when one went unnoticed, 2 when the table or the tests are wrong."""
    options = _parser().parse_args(arguments)
    try:
        number, count = _part(options.part)
        chosen = [mutation for mutation in MUTATIONS if options.only in mutation.file + mutation.breaks][number::count]
        texts = [changed_text(mutation) for mutation in chosen]
    except ValueError as error:
        sys.stderr.write(f"mutations: {error}\n")
        return 2
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for library in LIBRARIES:
        __import__(library)
    with tempfile.TemporaryDirectory(prefix="mutations-") as place:
        copy = Path(shutil.copytree(ROOT, Path(place) / "tree", ignore=shutil.ignore_patterns(*LEFT_OUT)))
        for asked in sorted({mutation.tests for mutation in chosen}):
            if (code := _ask(copy, asked)) != 0:
                sys.stderr.write(f"mutations: {asked} ends with {code} without any fault; make it pass first\n")
                return 2
        survivors = [one for one, text in zip(chosen, texts, strict=True) if not _is_noticed(copy, one, text)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} faults were noticed")
    for mutation in survivors:
        print(f"NOT NOTICED: {mutation.breaks} ({mutation.file}: {mutation.new.strip()}), by {mutation.tests}")
    return 1 if survivors else 0


def _is_noticed(copy: Path, mutation: Mutation, text: str) -> bool:
    """Whether the tests fail on the copy with the fault."""
    path = copy / mutation.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    started = time.monotonic()
    code = _ask(copy, mutation.tests)
    path.write_text(whole, encoding="utf-8")
    # 1: a test failed. Whatever else a fault does to pytest, no test has told it.
    noticed = code in (1, None)
    verdict = {1: "noticed", None: f"noticed: the tests hang for {SECONDS} s"}.get(code, f"NOT NOTICED (code {code})")
    print(f"{verdict}, {time.monotonic() - started:.0f} s: {mutation.breaks}", flush=True)
    return noticed


def _ask(copy: Path, tests: str) -> int | None:
    """Exit code of pytest in the copy; None when it did not end."""
    process = multiprocessing.get_context("fork").Process(target=_run_pytest, args=(copy, tests))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def _run_pytest(copy: Path, tests: str) -> None:
    """In a process of its own: the copy's code is imported, not that of this file."""
    import shlex

    import pytest

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    # A cached compilation may be of another fault: files change within a second.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.path[:] = [str(copy), *(place for place in sys.path if Path(place or ".").resolve() != ROOT)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("drawaudio_model", "pipelines", "tests")]:
        del sys.modules[name]
    sys.exit(int(pytest.main([*shlex.split(tests), "-x", "-q", "-p", "no:cacheprovider"])))


def _part(text: str) -> tuple[int, int]:
    """(i, n) from 0 of "I/N" from 1."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ValueError(f"--part is {text!r}, expected I/N such as 1/6")
    return int(number) - 1, int(count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", default="1/1", metavar="I/N", help="only the I-th, I+N-th, ... fault")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults with this in their file or description")
    return parser


if __name__ == "__main__":
    sys.exit(main())
