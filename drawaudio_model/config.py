"""The settings of a training run, each with its unit and source, and the named runs.

Settings of the networks are arguments of their constructors and saved with the weights; those that a run chooses are
here too, and `train.py` hands them over.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from drawaudio_model.dataset import NullRates, ScoreLimits
from drawaudio_model.defaults import RUN_NAMES
from drawaudio_model.guidance import LOUDNESS_SCALE, TEXT_SCALE, VIDEO_SCALE, Guidance
from drawaudio_model.levels.matching import MAX_BOOST_DB

PAPER_STEPS = {"audiocaps": 60_000, "vggsound_caption": 160_000, "mixed": 200_000}
"""Optimiser steps of Table I, by dataset."""

Trainable = Literal["adapters", "attention", "full"]
Precision = Literal["no", "bf16"]
LoudnessMode = Literal["additive", "per_channel", "concatenated"]
Prediction = Literal["epsilon", "v_prediction"]
Optimizer = Literal["adamw", "muon"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; the defaults are the paper's (Table I, Sec. "Implementation details") where it gives any."""

    run: str
    """Name of the run, for logs."""
    steps: int
    """Optimiser steps. Paper: Table I."""

    batch_size: int = 288
    """Samples in one optimiser step over all processes. Paper: 72 on each of 4 GPUs."""
    micro_batch_size: int = 72
    """Samples in one forward pass of one process; more of them accumulate gradients. Paper: 72."""
    optimizer: Optimizer = "adamw"
    """"adamw", the paper's, or "muon" for weight matrices (training/optimizers.py): half the steps of a UNet from scratch."""
    learning_rate: float = 1e-4
    """Peak learning rate. Paper: Sec. "Implementation details"."""
    final_learning_rate: float = 1e-4
    """Learning rate at the last step, reached along half a cosine. Paper states no decay, so the peak."""
    warmup_steps: int = 1000
    """Steps of linear warm-up. Not in the paper; AudioLDM trains with 2000 to 5000, Diff-Foley with 1000."""
    weight_decay: float = 0.01
    """Decoupled weight decay. Paper: Sec. "Implementation details"."""
    adam_beta1: float = 0.9
    """AdamW's decay of the gradient's mean: its default, the paper states none."""
    adam_beta2: float = 0.999
    """AdamW's decay of the gradient's square: its default, the paper states none."""
    gradient_clip: float = 1.0
    """Largest L2 norm of all gradients together. Our choice."""
    ema_decay: float = 0.9999
    """Largest decay of the averaged weights, min(decay, (1 + n) / (10 + n)) at step n. As AudioLDM trains."""
    prediction: Prediction = "epsilon"
    """The UNet's target: the noise, as in AudioLDM2 and the paper, or the velocity (Salimans and Ho 2022, App. D), for a UNet
    from scratch: where noise is strong, a predicted noise says something of the sound only if it is exact to a thousandth."""
    min_snr_gamma: float | None = None
    """Clamp of the signal-to-noise ratio in the loss weights, see `min_snr_weights`; None: plain MSE, the paper's."""
    precision: Precision = "no"
    """Autocast: "no" (float32) or "bf16", which needs no gradient scaler. Not in the paper."""
    compile: bool = False
    """Compile the denoiser with torch.compile: slower start, faster steps on a GPU."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""

    trainable: Trainable = "adapters"
    """The part of the UNet that learns; video projection, MAM and TLM always do. Paper: 82 M, "adapters"."""
    unet_channels: tuple[int, ...] | None = None
    """Channels per level of a UNet that starts from noise; None: AudioLDM2's UNet from <backbones>/unet. Paper: None."""
    unet_plain_levels: int = 1
    """Levels of a UNet that starts from noise, from the finest, without attention. AudioLDM2: 1."""
    unet_layers_per_block: int = 2
    """Residual blocks per level of a UNet that starts from noise."""
    base_heads: Literal["hub", "original"] = "hub"
    """Attention heads of a UNet that starts from AudioLDM2: 8 at every level as the published diffusers config says, or
    8, 12 and 20 as in the original code. The paper used diffusers, so "hub"."""
    unet_heads: int = 8
    """Attention heads of a UNet that starts from noise; must divide its channels."""
    video_width: int = 768
    """Channels of the video tokens. Paper: C = 768."""
    video_projection: Literal["new", "diff_foley"] = "new"
    """Start of the projection of CAVP's 512 channels and of its positions: random, or Diff-Foley's, from
    <backbones>/diff_foley/ldm_epoch240.ckpt. Paper: "C = 768 as Diff-Foley", not whether it is taken over."""
    video_projection_learns: bool = True
    """Whether that projection trains. Paper: not stated; its counts leave room for it."""
    mask_bias: bool = True
    """Whether W of Eq. (8) has a bias. Paper: "omitted for simplicity"; with it the counts are the paper's."""
    mask_bias_start: float = 0.0
    """Start of that bias: the weight of the masked frames' features in the video tokens at step 0. Paper: not stated."""
    mask_gate: Literal["linear", "sigmoid"] = "linear"
    """Activation of GAP(F_mask) W in Eq. (8). Paper: none stated."""
    positions_follow: Literal["crop", "clip"] = "crop"
    """Whether a crop's first video frame has position 0 or its number in the clip. Paper: not stated."""
    null_video: Literal["zeros", "skip"] = "zeros"
    """Meaning of "no video": zeros for CAVP's features, or no video stack at all, so that Eq. (12)'s branches without video
    are the base model's. Paper: not stated; Diff-Foley trains with zeros."""
    unit_cavp: bool = False
    """Multiply CAVP's features, of L2 norm 1, by the root of their width. Paper: not stated; helps from scratch."""
    loudness_mode: LoudnessMode = "additive"
    """Form in which the loudness signal enters the UNet: added to the latent as (1, F, 1), the paper's, or per channel; or
    concatenated to it as channels of their own, for a UNet that starts from noise."""
    loudness_widths: tuple[int, ...] = (256, 256)
    """Hidden widths of the loudness signal's MLP. Paper: "trainable MLP layers"; our choice."""
    loudness_zero_start: bool = True
    """Whether its last layer starts at zero, so that step 0 is the base model. Paper: not stated."""
    loudness_branches: Literal["all", "video"] = "all"
    """Branches of Eq. (12) that have the loudness signal: all, as the latent is shared, or only those with video.
    Paper: open."""
    loudness_scale: Literal["linear", "decibel"] = "linear"
    """Unit in which the loudness signal enters its MLP. Paper: amplitude, as Eqs. (10)-(11) give it."""

    guidance_text: float = TEXT_SCALE
    """s_text of Eq. (12) that the trained pipeline takes unless a call says otherwise. Paper: 3.5."""
    guidance_video: float = VIDEO_SCALE
    """Its s_video. Paper: 4.5."""
    guidance_loudness: float = LOUDNESS_SCALE
    """Its s_loudness, the extra weight of the curve. Paper: none; needs signal dropout."""

    level_matching_db: float | None = None
    """Most decibels by which the pipeline may turn a sound up to meet its curve (levels/matching.py); None: levels stay as
    sampled, as in the paper."""

    null_text_and_video_rate: float = 0.1
    """Share of samples without text and video, the branch eps(0, 0) of Eq. (12). AudioLDM2 drops all with 0.1."""
    null_text_rate: float = 0.1
    """Share of the others without text. Our choice, AudioLDM2's rate."""
    null_video_rate: float = 0.1
    """Share of the others without video, the branch eps(text, 0) of Eq. (12). Our choice, AudioLDM2's rate."""
    null_mask_rate: float = 0.1
    """Share of samples whose mask is the whole frame, so that one may draw no mask. Our choice."""
    null_loudness_rate: float = 0.0
    """Share of samples without loudness signal (signal dropout), so that one may draw no curve. Paper: none stated; the
    other runs take 0.1."""

    drawn_share: float = 0.0
    """Share of samples whose words, mask and curve were drawn by hand and whose sound obeys them (DrawnInstructions).
    Paper: none; curves, boxes and captions are read off the clips."""

    most_silent_share: float | None = None
    """Clips that are silent (below -60 dB) for a larger share of their time are not learnt from. Paper: no filter."""
    most_clipped_share: float | None = None
    """Clips with a larger share of samples at full scale are not learnt from. Paper: no filter."""
    least_motion: float | None = None
    """Clips whose pixels change less from frame to frame, 0 to 1, are not learnt from: stills. Paper: no filter."""
    most_shot_cuts: int | None = None
    """Clips with more cuts from one shot to another are not learnt from. Paper: no filter."""
    once_per_sound: bool = False
    """Of clips with the same sound, learn from the first only. Paper: no filter."""

    seed: int = 0
    """Of weights, order, crops, withheld instructions, noise and timesteps."""
    workers: int = 4
    """Loader processes of each training process; changes no result."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints."""
    keep_checkpoints: int = 2
    """Newest checkpoints that stay on disk."""
    validate_every: int = 1000
    """Steps between two validations, one more at the end."""
    validation_samples: int = 64
    """Largest number of validation samples; the first ones, on the same noise each time."""
    validation_bands: int = 5
    """Bands of equal width into which the 1000 timesteps are cut for the validation loss."""
    audio_samples: int = 2
    """Validation clips that are made into sound at each validation; 0: none."""
    audio_sample_steps: int = 25
    """Sampling steps of those sounds."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "micro_batch_size", "checkpoint_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of micro_batch_size {self.micro_batch_size}; "
                "choose one that divides it"
            )
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer is {self.optimizer!r}, expected 'adamw' (the paper's) or 'muon'")
        if self.loudness_mode == "concatenated" and self.unet_channels is None:
            raise ValueError(
                "loudness_mode is 'concatenated', which AudioLDM2's UNet has no channels for; set unet_channels for one from "
                "noise, or loudness_mode=per_channel"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}, expected at least 0 and less than 1")
        if self.unet_channels is not None:
            object.__setattr__(self, "unet_channels", tuple(self.unet_channels))
        object.__setattr__(self, "loudness_widths", tuple(self.loudness_widths))
        self.null_rates()
        self.guidance()

    def null_rates(self) -> NullRates:
        """The rates as the loader takes them."""
        return NullRates(
            text_and_video=self.null_text_and_video_rate,
            text=self.null_text_rate,
            video=self.null_video_rate,
            mask=self.null_mask_rate,
            loudness=self.null_loudness_rate,
        )

    def guidance(self) -> Guidance:
        """The weights that the trained pipeline takes unless a call says otherwise."""
        return Guidance(self.guidance_text, self.guidance_video, loudness=self.guidance_loudness)

    def score_limits(self) -> ScoreLimits:
        """The limits as the loader takes them."""
        return ScoreLimits(
            most_silent_share=self.most_silent_share,
            most_clipped_share=self.most_clipped_share,
            least_motion=self.least_motion,
            most_shot_cuts=self.most_shot_cuts,
            once_per_sound=self.once_per_sound,
        )

    def to_json(self) -> str:
        """All settings as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def paper(cls, dataset: str = "vggsound_caption") -> "TrainConfig":
        """The paper's run on "audiocaps", "vggsound_caption" or "mixed": 4 GPUs of 80 GB, 24, 72 or 96 hours.

        Raises:
            ValueError: for another dataset.
        """
        if dataset not in PAPER_STEPS:
            raise ValueError(f"dataset is {dataset!r}, expected one of {', '.join(PAPER_STEPS)}")
        return cls(run=f"paper-{dataset}", steps=PAPER_STEPS[dataset])

    @classmethod
    def improved(cls, dataset: str = "vggsound_caption") -> "TrainConfig":
        """The paper's run with what we expect to obey better; for ablations beside `paper`.

        Loudness is read in decibel and enters each latent channel through its own weights, behind a projection that
        starts at zero; a tenth of the samples goes without (signal dropout); a quarter has instructions drawn by hand; the
        loss is weighted by min-SNR with gamma 5, all attention stacks learn, and bf16 halves the time.
        """
        return replace(
            cls.paper(dataset),
            run=f"improved-{dataset}",
            loudness_mode="per_channel",
            loudness_scale="decibel",
            null_loudness_rate=0.1,
            level_matching_db=MAX_BOOST_DB,
            drawn_share=0.25,
            min_snr_gamma=5.0,
            trainable="attention",
            precision="bf16",
        )

    @classmethod
    def demo(cls) -> "TrainConfig":
        """A small UNet from noise on the rendered clips: 12,800 samples in some eight minutes on two CPU cores."""
        return cls(
            run="demo",
            steps=800,
            batch_size=16,
            micro_batch_size=16,
            optimizer="muon",
            learning_rate=7e-3,
            final_learning_rate=1e-4,
            warmup_steps=50,
            ema_decay=0.995,
            trainable="full",
            # The finest level must carry sixteen channels of noise and what it makes of them: with 16 features there, not 64,
            # a step takes two thirds of the time, and 800 steps leave a validation loss of 0.42 where 400 leave 0.25.
            unet_channels=(64, 64, 80),
            # Attention over 25 x 2 places instead of 50 x 4 halves a step's time on two cores.
            unet_plain_levels=2,
            unet_layers_per_block=1,
            unet_heads=2,
            video_width=80,
            unit_cavp=True,
            # Added to the latent, the curve is read through the noise: onset F1 0.62 instead of 0.74.
            loudness_mode="concatenated",
            loudness_zero_start=False,
            loudness_scale="decibel",
            prediction="v_prediction",
            # On the val clips, text 0 rings the words' thing in 0.88 where words and mask contradict, text 1 to 3 in all;
            # with text 0 to 2 a loose box around the bell of the README's clip is taken for a drum, whatever the words say.
            # 5 holds the thing where 3 loses it to a strongly guided curve. Video 1 instead of 3 leaves a mask alone, where two
            # things move, without much say.
            guidance_text=5.0,
            guidance_video=3.0,
            # Onset F1 0.66 with 1, 0.72 with 1.5, 0.74 with 2; but with 2 the right thing sounds in 0.88 under drawn curves,
            # with 1.5 and 1 in 0.94 and 1.00 (text, mask and curve drawn).
            guidance_loudness=1.5,
            level_matching_db=MAX_BOOST_DB,
            drawn_share=0.6,
            # Captions are learnt first and explain the sound; without them it is left to picture and mask.
            null_text_rate=0.35,
            # Otherwise it takes hundreds of steps until the mask counts beside the whole frame.
            mask_bias_start=2.0,
            null_loudness_rate=0.1,
            workers=0,
            checkpoint_every=100,
            validate_every=400,
            validation_samples=16,
            audio_samples=1,
            audio_sample_steps=10,
        )

    @classmethod
    def control(cls) -> "TrainConfig":
        """A UNet on three times the demo's clips for two and a half times its steps: some 25 minutes on two CPU cores.

        With its backbones' training less than an hour. The goals of the control benchmark are meant for this run.
        """
        return replace(
            cls.demo(),
            run="control",
            steps=1600,
            unet_channels=(64, 64, 96),
            video_width=96,
            ema_decay=0.998,
            null_text_rate=0.5,
            validate_every=400,
        )

    @classmethod
    def small(cls) -> "TrainConfig":
        """The demo's UNet after a fifth of its steps, for a check of the whole path by ear in minutes (`make check-small`)."""
        return replace(
            cls.demo(),
            run="small",
            steps=150,
            warmup_steps=20,
            ema_decay=0.97,
            checkpoint_every=150,
            validate_every=150,
            validation_samples=8,
            audio_samples=0,
        )

    @classmethod
    def tiny(cls) -> "TrainConfig":
        """A few steps of a UNet of a few thousand weights; for tests, no claim of quality."""
        return cls(
            run="tiny",
            steps=4,
            batch_size=4,
            micro_batch_size=4,
            learning_rate=1e-3,
            final_learning_rate=1e-3,
            warmup_steps=1,
            trainable="full",
            unet_channels=(16, 32, 32),
            unet_layers_per_block=1,
            unet_heads=2,
            video_width=32,
            unit_cavp=True,
            null_loudness_rate=0.1,
            level_matching_db=MAX_BOOST_DB,
            drawn_share=0.5,
            workers=0,
            checkpoint_every=2,
            validate_every=2,
            validation_samples=2,
            validation_bands=2,
            audio_samples=1,
            audio_sample_steps=1,
        )


def changed(config: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """`config` with other values, each given as "name=value" with the value in JSON (a word needs no quotes).

    Raises:
        ValueError: when there is no such setting, or the value has another type.
    """
    values: dict[str, Any] = {}
    kinds = {field.name: getattr(config, field.name) for field in fields(TrainConfig)}
    for text in settings:
        name, equals, word = text.partition("=")
        if not equals or name not in kinds:
            raise ValueError(
                f"setting {text!r} is no NAME=VALUE with a name of config.py; one is loudness_mode=additive"
            )
        try:
            value = json.loads(word)
        except json.JSONDecodeError:
            value = word
        current = kinds[name]
        if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if current is not None and value is not None and not isinstance(value, list | type(current)):
            raise ValueError(f"setting {name} is {value!r}, expected a {type(current).__name__} such as {current!r}")
        values[name] = tuple(value) if isinstance(value, list) else value
    return replace(config, **values)


def named_run(run: str, dataset: str = "vggsound_caption") -> TrainConfig:
    """The settings of one of RUN_NAMES.

    Raises:
        ValueError: for another name.
    """
    if run not in RUN_NAMES:
        raise ValueError(f"run is {run!r}, expected one of {', '.join(RUN_NAMES)}")
    if run in ("paper", "improved"):
        return getattr(TrainConfig, run)(dataset)
    return getattr(TrainConfig, run)()


FREE_TO_CHANGE = frozenset(
    {"run", "steps", "compile", "gradient_checkpointing", "workers", "checkpoint_every", "keep_checkpoints"}
    | {"validate_every", "validation_samples", "validation_bands", "audio_samples", "audio_sample_steps"}
    | {"guidance_text", "guidance_video", "guidance_loudness", "level_matching_db"}
)
"""Settings that a stopped run may be continued with other values of."""


def differences(config: TrainConfig, stored: dict[str, Any]) -> list[str]:
    """The differences that keep `config` from continuing the run with the settings `stored` (from `to_json`), one phrase each.

    A setting that `stored` lacks was added later and had its default, which leaves a run as it was before.
    """
    mine = json.loads(config.to_json())
    usual = json.loads(TrainConfig(run="", steps=1).to_json())
    names = [field.name for field in fields(TrainConfig) if field.name not in FREE_TO_CHANGE]
    was = usual | stored
    return [f"{name} was {was[name]}, is {mine[name]}" for name in names if mine[name] != was[name]]
