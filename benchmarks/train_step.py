"""A training step on precomputed samples against one that computes everything on the fly: full size, random weights.

    python benchmarks/train_step.py [--batch 2] [--repeats 3]

Both do the same: noise loss of the denoiser (428 M weights, 82 M of them learn), backward, clipping, AdamW. Ours reads
its samples through the training loader from shards as the dataset builder writes them. The other computes them from
waveforms and frames that lie in memory already: log-mel, autoencoder, CAVP of the frames and of the masked frames, CLAP,
FLAN-T5 and GPT-2. (Decoding the media, which it would need as well, is left out in its favour.) They run in turn, so
both see the same machine; by the clock and, on a CPU, by CPU seconds.

Goal: 3 times the samples a second. Writes results/train_step.json.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import published
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from loader import write_shards

from drawaudio_model.cavp import CAVP
from drawaudio_model.clip_format import CLIP_SAMPLES, CLIP_SECONDS, FRAME_SIZE, VIDEO_FRAMES
from drawaudio_model.dataset import NullRates, TrainingBatch, TrainingShards, training_batches
from drawaudio_model.denoiser import Denoiser
from drawaudio_model.loudness import loudness_signal
from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.masks import apply_mask
from drawaudio_model.mel import log_mel, normalize_waveform
from drawaudio_model.text import TextConditioner, TextConditions
from drawaudio_model.training.objective import NOISE_SCHEDULE, diffusion_noise, noise_loss

GOAL = 3.0
RESULTS = Path(__file__).parent / "results" / "train_step.json"
RATES = NullRates(text_and_video=0.1, text=0.1, video=0.1, mask=0.1, loudness=0.0)


class Encoders:
    """The frozen models that a step on the fly needs."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.vae: AutoencoderKL = published.autoencoder().to(device)
        self.cavp = CAVP().eval().to(device)
        self.text: TextConditioner = published.conditioner(published.text_parts()).to(device)

    @torch.no_grad()
    def batch(self, size: int, random: np.random.Generator) -> TrainingBatch:
        """A batch from random sound and pictures, encoded."""
        waveforms = normalize_waveform(random.standard_normal((size, CLIP_SAMPLES)).astype(np.float32))
        frames = random.integers(0, 255, (size, VIDEO_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), dtype=np.uint8)
        mask = np.zeros((size, VIDEO_FRAMES, FRAME_SIZE, FRAME_SIZE), bool)
        mask[..., 40:180, 30:150] = True
        mel = log_mel(torch.from_numpy(waveforms).to(self.device))  # (B, 800, 64)
        text = self.text([published.CAPTION] * size)
        absent = {
            name: torch.zeros(size, dtype=torch.bool, device=self.device)
            for name in ("text", "video", "mask", "loudness")
        }
        return TrainingBatch(
            keys=[str(number) for number in range(size)],
            start_seconds=torch.zeros(size, dtype=torch.long, device=self.device),
            latent=self.vae.encode(mel[:, None]).latent_dist.sample(),
            cavp=self.cavp.encode_video(self.cavp.preprocess(frames)),
            cavp_masked=self.cavp.encode_video(self.cavp.preprocess(apply_mask(frames, mask))),
            loudness=torch.from_numpy(loudness_signal(waveforms, seconds=CLIP_SECONDS)).to(self.device),
            t5=text.t5,
            t5_mask=text.t5_mask,
            gpt=text.gpt,
            **{f"no_{name}": value for name, value in absent.items()},
        )


def build(device: str) -> tuple[Denoiser, torch.optim.Optimizer]:
    """The paper's run: adapters, mask attention, projection and loudness control learn."""
    unet = published.our_unet()
    unet.select_trainable("adapters")
    denoiser = Denoiser(unet, MaskAttention(), LoudnessControl()).to(device).train()
    learning = [weight for weight in denoiser.parameters() if weight.requires_grad]
    return denoiser, torch.optim.AdamW(learning, lr=1e-4, weight_decay=0.01, fused=True)


def step(
    denoiser: Denoiser, optimizer: torch.optim.Optimizer, batch: TrainingBatch, null: TextConditions, number: int
) -> float:
    """One optimiser step; returns the loss."""
    size, device = len(batch.keys), batch.latent.device
    timesteps, noise = diffusion_noise(0, number, range(size), tuple(batch.latent.shape[1:]))
    optimizer.zero_grad(set_to_none=True)
    schedule = DDPMScheduler(**NOISE_SCHEDULE)
    loss = noise_loss(
        denoiser, schedule, batch, null, timesteps.to(device), noise.to(device), 0.4110932946205139
    ).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([weight for weight in denoiser.parameters() if weight.grad is not None], 1.0)
    optimizer.step()
    return float(loss)


def seconds_of(work: Callable[[], float], device: str) -> tuple[float, float]:
    """Clock and CPU seconds."""
    if device == "cuda":
        torch.cuda.synchronize()
    clock, cpu = time.perf_counter(), time.process_time()
    loss = work()
    assert np.isfinite(loss), loss
    return time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device, random = arguments.device, np.random.default_rng(0)
    encoders = Encoders(device)
    denoiser, optimizer = build(device)
    null = encoders.text.null()
    with tempfile.TemporaryDirectory() as temporary:
        write_shards(Path(temporary), 1, max(arguments.batch * (arguments.repeats + 1), 16), 0)
        batches: Iterator[TrainingBatch] = training_batches(
            TrainingShards(Path(temporary)),
            batch_size=arguments.batch,
            seed=0,
            steps=arguments.repeats + 1,
            null_rates=RATES,
            workers=0,
        )
        ways: dict[str, Callable[[], TrainingBatch]] = {
            "precomputed": lambda: next(batches).to(device),
            "on_the_fly": lambda: encoders.batch(arguments.batch, random),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(arguments.repeats + 1):  # the first round warms up
            for name, read in ways.items():
                spent = seconds_of(lambda read=read: step(denoiser, optimizer, read(), null, number), device)  # noqa: B023
                print(f"round {number}, {name}: {spent[0]:.2f} s, {spent[1]:.2f} CPU s", flush=True)
                if number:
                    found[name].append(spent)
    speeds = {
        name: {
            clock: arguments.batch / statistics.median(row[axis] for row in rows)
            for axis, clock in enumerate(("clock", "cpu"))
        }
        for name, rows in found.items()
    }
    ratio = {clock: speeds["precomputed"][clock] / speeds["on_the_fly"][clock] for clock in ("clock", "cpu")}
    result = {
        "what": "training samples a second of one process, adapters learn; median of the repeats",
        "settings": {name: getattr(arguments, name) for name in ("batch", "repeats", "device")},
        "samples_per_second": speeds,
        "ratio": ratio,
        "goal": GOAL,
        **published.surroundings(),
        "seed": 0,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    for name, speed in speeds.items():
        print(f"{name:12s} {speed['clock']:.3f} samples/s, {speed['cpu']:.3f} per CPU second")
    print(f"{ratio['clock']:.2f} x by the clock, {ratio['cpu']:.2f} x by CPU time (goal {GOAL})")


if __name__ == "__main__":
    main()
