"""DrawAudioPipeline: a silent video, a text, a mask and a drawn curve become sound.

Each sampling step evaluates the UNet on up to three branches (nothing, text, text and video) and combines them as
Eq. (12), and on a fourth where the loudness shall count more; the loudness signal is added to the latent before the UNet
(generation/sampling.py). Several candidates are sampled and decoded one at a time, so memory does not grow with their number.

Legend: B batch, C latent channels, F latent frames of one 8 s window, N latent frames of the whole sound, K latent mel
bins, V video frames, P loudness points, D CAVP width, L text tokens, T mel frames, M mel bins.

Paper: Sec. "Draw an Audio" and "Implementation details" (DPM-Solver, 25 steps, s_text 3.5, s_video 4.5).
"""

import secrets
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from diffusers import (
    AudioLDM2ProjectionModel,
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
)
from torch import Tensor
from transformers import (
    ClapFeatureExtractor,
    ClapModel,
    GPT2Model,
    PreTrainedTokenizerBase,
    SpeechT5HifiGan,
    T5EncoderModel,
)

from drawaudio_model.cavp import CAVP
from drawaudio_model.clip_format import CLIP_SECONDS, MEL_BINS, MEL_FRAMES
from drawaudio_model.defaults import SAMPLING_STEPS
from drawaudio_model.denoiser import Conditions, Denoiser
from drawaudio_model.generation import windows
from drawaudio_model.generation.instructions import (
    Instructions,
    Loudness,
    Mask,
    Sound,
    Video,
    check_seed,
    check_weights,
)
from drawaudio_model.generation.latents import conditions, decode, encode, sample_latents
from drawaudio_model.generation.output import DrawAudioOutput, Take
from drawaudio_model.generation.parts import check_parts
from drawaudio_model.generation.preparations import Preparations
from drawaudio_model.generation.preparing import Prepared, limited_curve, prepare
from drawaudio_model.generation.sampling import Given
from drawaudio_model.generation.sections import Section
from drawaudio_model.generation.stages import SILENT, OnProgress, Teller
from drawaudio_model.generation.takes import OWN_SAMPLING, Sampling, StepCallback, check_start, generate, regenerate
from drawaudio_model.griffin_lim import GriffinLimVocoder
from drawaudio_model.guidance import LOUDNESS_BRANCHES, LOUDNESS_SCALE, TEXT_SCALE, VIDEO_SCALE, Guidance
from drawaudio_model.levels.matching import fit_level, follow_curve
from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.mel import check_vocoder
from drawaudio_model.model_card import write_model_card
from drawaudio_model.model_folder import check_model_folder, detector_beside, forget_places
from drawaudio_model.patch_autoencoder import PatchAutoencoder, compression
from drawaudio_model.text import COMPONENTS as TEXT_COMPONENTS
from drawaudio_model.text import TextConditioner, TextEmbeddings
from drawaudio_model.training_domain import TrainingDomain
from drawaudio_model.unet import DrawAudioUNet
from drawaudio_model.vocoder import SpectralVocoder

if TYPE_CHECKING:
    from drawaudio_model.detector import ObjectDetector

STEPS = SAMPLING_STEPS
_LESS_MEMORY = "load it with torch_dtype=torch.float16, or set branches_together=False, for less memory"


class DrawAudioPipeline(DiffusionPipeline):
    """Video, text, mask and loudness curve to sound; any subset of them.

    Args:
        vae: autoencoder of log-mels, (B, 1, T, M) to (B, C, F, K); its config carries the scaling factor.
        text_encoder: CLAP.
        tokenizer: of CLAP.
        text_encoder_2: FLAN-T5's encoder.
        tokenizer_2: of FLAN-T5.
        projection_model: CLAP and T5 to GPT-2's width.
        language_model: GPT-2, which makes 8 hidden tokens.
        unet: the denoiser.
        mask_attention: CAVP features to video tokens.
        loudness_control: loudness signal to its share of the latent.
        cavp: frames to features.
        vocoder: log-mel to waveform: AudioLDM2's, our small one, or Griffin-Lim.
        scheduler: the noise schedule of training; sampling uses DPM-Solver++ made from its config.
        feature_extractor: front end of a published CLAP, for ranking candidates; None where CLAP reads this project's
            log-mels.
        domain: what the model was trained on, so that it can say what is asked beyond it; None: nobody knows.
        loudness_branches: which branches of Eq. (12) see the loudness signal: "all" (the latent is shared; the paper's
            Eq. (12) leaves it open) or "video", only the one with text and video.
        guidance_text: s_text of Eq. (12) where a call gives none.
        guidance_video: s_video of Eq. (12) where a call gives none.
        guidance_loudness: s_loudness of `guidance.guided_noise` where a call gives none; 0 is the paper's.
        level_matching_db: how far a sound may be turned up to meet its curve (`levels.matching.match_levels`); None leaves
            all levels as sampled, which is the paper's.
        base_model: what the denoiser was fine-tuned from, for the model card; None for one trained from scratch.
        licence: of the weights (an SPDX name in lower case, as model cards have it).

    Attributes:
        detector: finds the things that a mask names by text; assign one, or leave it beside the model as
            `backbones/object_detector`, where `from_pretrained` looks.

    Raises:
        ValueError: when the parts do not fit each other or the clip's geometry.
    """

    _optional_components: ClassVar[list[str]] = ["feature_extractor", "domain"]

    def __init__(
        self,
        vae: AutoencoderKL | PatchAutoencoder,
        text_encoder: ClapModel,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder_2: T5EncoderModel,
        tokenizer_2: PreTrainedTokenizerBase,
        projection_model: AudioLDM2ProjectionModel,
        language_model: GPT2Model,
        unet: DrawAudioUNet,
        mask_attention: MaskAttention,
        loudness_control: LoudnessControl,
        cavp: CAVP,
        vocoder: SpeechT5HifiGan | SpectralVocoder | GriffinLimVocoder,
        scheduler: DDIMScheduler,
        feature_extractor: ClapFeatureExtractor | None = None,
        domain: TrainingDomain | None = None,
        loudness_branches: str = "all",
        guidance_text: float = TEXT_SCALE,
        guidance_video: float = VIDEO_SCALE,
        guidance_loudness: float = LOUDNESS_SCALE,
        level_matching_db: float | None = None,
        base_model: str | None = None,
        licence: str | None = None,
    ) -> None:
        super().__init__()
        if loudness_branches not in LOUDNESS_BRANCHES:
            raise ValueError(f"loudness_branches is {loudness_branches!r}, expected 'all' or 'video'")
        check_vocoder(vocoder)
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            projection_model=projection_model,
            language_model=language_model,
            unet=unet,
            mask_attention=mask_attention,
            loudness_control=loudness_control,
            cavp=cavp,
            vocoder=vocoder,
            scheduler=scheduler,
            feature_extractor=feature_extractor,
            domain=domain,
        )
        self.register_to_config(
            loudness_branches=loudness_branches,
            guidance_text=guidance_text,
            guidance_video=guidance_video,
            guidance_loudness=guidance_loudness,
            level_matching_db=level_matching_db,
            base_model=base_model,
            licence=licence,
        )
        self.detector: ObjectDetector | None = None  # imported where it is needed: open_clip takes seconds
        self.detector_folder: Path | None = None
        self.preparations: Preparations | None = None
        """Set by what makes many sounds of few videos; None prepares each time."""
        check_parts(self)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """The pipeline of a folder (or hub name), after a folder was checked (see `check_model_folder`); channels last.

        Args:
            pretrained_model_name_or_path: what `save_pretrained` wrote.
            **kwargs: diffusers' own: torch_dtype, device_map, parts given instead of loaded, ...

        Raises:
            ValueError: in one sentence, when a file is missing or has other shapes than its config says.
        """
        folder = Path(pretrained_model_name_or_path)
        # A name on the hub has exactly one slash.
        if folder.exists() or folder.is_absolute() or len(folder.parts) != 2:
            check_model_folder(folder)
        pipe = super().from_pretrained(str(pretrained_model_name_or_path), **kwargs)
        pipe.detector_folder = detector_beside(folder)
        pipe.enable_channels_last()
        return pipe

    def enable_channels_last(self) -> None:
        """Lays the weights of UNet and autoencoder out with channels last: a tenth less time, differences of rounding."""
        for part in (self.unet, self.vae):
            if not any(weight.is_meta for weight in part.parameters()):  # nor may a part be moved that lies on the disk
                part.to(memory_format=torch.channels_last)

    def enable_sequential_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str = "cuda") -> None:
        """Not for these networks: several read weights beside their layers' calls, where offloaded ones are not there.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "enable_sequential_cpu_offload is not possible with DrawAudioPipeline, whose networks share and fold weights beside "
            f"their layers' calls; {_LESS_MEMORY}"
        )

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str | None = None) -> None:
        """Not for these networks: CLAP and CAVP are asked by methods that bring no offloaded weights back, and what they are
        given would lie where their weights are not.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "enable_model_cpu_offload is not possible with DrawAudioPipeline, whose CLAP and CAVP are asked beside their forward "
            f"calls; {_LESS_MEMORY}"
        )

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Writes the folder of `from_pretrained`, with a model card that names the licence and no word of where parts lay before.

        Args:
            save_directory: the folder.
            **kwargs: diffusers' own.
        """
        super().save_pretrained(save_directory, **kwargs)
        forget_places(Path(save_directory))
        write_model_card(
            Path(save_directory), base_model=self.config.base_model, licence=self.config.licence, unet=self.unet
        )

    @torch.no_grad()
    def __call__(
        self,
        video: Video | None = None,
        prompt: str | None = None,
        *,
        negative_prompt: str | None = None,
        mask: Mask | None = None,
        mask_invert: bool = False,
        loudness: Loudness | None = None,
        seconds: float | None = None,
        video_fps: float | None = None,
        num_inference_steps: int = STEPS,
        guidance_text: float | None = None,
        guidance_video: float | None = None,
        guidance_loudness: float | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        seed: int | None = None,
        num_candidates: int = 1,
        overlap_seconds: int = windows.OVERLAP_SECONDS,
        branches_together: bool | None = None,
        start_from: Sound | None = None,
        strength: float | None = None,
        keep_latents: bool = False,
        callback_on_step_end: StepCallback | None = None,
        on_progress: OnProgress | None = None,
    ) -> DrawAudioOutput:
        """The sound of a video, as told: `prepare` and `generate` in one.

        Args:
            video: file of any container, size, frame rate and length, or (N, H, W, 3) uint8 RGB frames. None: sound
                from the other instructions alone.
            prompt: what should sound.
            negative_prompt: what should not sound; needs no prompt.
            mask: which part of the picture sounds; see `generation.instructions.drawn_mask`, or the text of a thing, which
                `detector` then looks for. None: the whole picture.
            mask_invert: what the mask leaves out sounds.
            loudness: when and how loud; see `generation.instructions.read_loudness`. Levels are RMS of a waveform that peaks at
                0.5. None: the model's own choice.
            seconds: length of the sound; default the video's, or 8 s without a video.
            video_fps: frame rate of an array, default 4.
            num_inference_steps: sampling steps.
            guidance_text: s_text of Eq. (12); None: the model's own, which is the paper's unless its training set another.
                Without a video, a model whose own is 0 takes its s_video, for text and nothing is then all that steers.
            guidance_video: s_video of Eq. (12), likewise; without a video it is 0.
            guidance_loudness: how much more the curve shall count than the model learnt, 0 for not; None: the model's own.
                For a model trained with signal dropout; one more evaluation a step.
            guidance_interval: share of the noise schedule in which the unconditional branches are evaluated; see
                `guidance.Guidance`. Default: all of it.
            seed: of the noise; the same seed gives the same bytes on a CPU. None: a random one, in `.seeds`.
            num_candidates: sounds to make from seed, seed + 1, ...; ranked by how well they follow the curve and, by
                CLAP, the text.
            overlap_seconds: shared by the windows of a sound longer than 8 s.
            branches_together: evaluate the branches in one batch (True), in turns with less memory (False), or by
                what memory is free (None).
            start_from: a sound to begin with; see `generate`.
            strength: how far to go from it, 0 to 1; None: 0.6.
            keep_latents: what the sounds were decoded from comes back as well, for `regenerate`.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": (1, C, N, K)}) after each step of
                each candidate; the "latents" of a dictionary that it returns take their place.
            on_progress: told of every stage (`generation.stages`); False stops the call, and so does what it raises.

        Memory grows with the length: the frames (at most 640 pixels wide, 4 a second) are held, with a mask a second time,
        and the vocoder takes the whole log-mel at once. Cut a video of more than about ten minutes.

        Raises:
            ValueError: for no instruction at all, a setting without what it is for, or an instruction that cannot be read.
            Stopped: when `on_progress` said so.
        """
        asked = Guidance(guidance_text, guidance_video, guidance_interval, guidance_loudness)
        instructions = Instructions(video, prompt, negative_prompt, mask, mask_invert, loudness, seconds, video_fps)
        check_weights(video is not None, loudness is not None, asked)
        if num_candidates < 1:
            raise ValueError(f"num_candidates is {num_candidates}, expected at least 1")
        check_seed(seed)
        check_start(start_from, strength)
        prepared = self._prepared(instructions, overlap_seconds, None, Teller(on_progress))
        first = secrets.randbelow(2**31) if seed is None else int(seed)
        return self.generate(
            prepared,
            seeds=[first + candidate for candidate in range(num_candidates)],
            sampling=Sampling(num_inference_steps, asked, branches_together, callback_on_step_end, on_progress),
            start_from=start_from,
            strength=strength,
            keep_latents=keep_latents,
        )

    @torch.no_grad()
    def prepare(
        self,
        video: Video | None = None,
        prompt: str | None = None,
        *,
        negative_prompt: str | None = None,
        mask: Mask | None = None,
        mask_invert: bool = False,
        loudness: Loudness | None = None,
        seconds: float | None = None,
        video_fps: float | None = None,
        overlap_seconds: int = windows.OVERLAP_SECONDS,
        section: tuple[float, float] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Prepared:
        """The features of picture, mask and words, which takes, other curves and sections of one sound share.

        Arguments and errors are a call's, but for `section`, (start, end) in seconds: then only what `regenerate` needs for
        this part of the sound is prepared.
        """
        instructions = Instructions(video, prompt, negative_prompt, mask, mask_invert, loudness, seconds, video_fps)
        return self._prepared(instructions, overlap_seconds, section, Teller(on_progress))

    def _prepared(
        self, instructions: Instructions, overlap_seconds: int, section: tuple[float, float] | None, teller: Teller
    ) -> Prepared:
        """The preparation, found again where `preparations` keeps it: without the curve, which is another each time."""
        if self.preparations is None or instructions.video is None:
            return prepare(self, instructions, overlap_seconds, section, teller)
        plain = replace(instructions, loudness=None)
        arguments = {field.name: getattr(plain, field.name) for field in fields(plain)}
        found = self.preparations.of(
            lambda: prepare(self, plain, overlap_seconds, section, teller),
            **arguments,
            overlap_seconds=overlap_seconds,
            section=section,
            detector=self.detector_folder,
        )
        return self.with_loudness(found, instructions.loudness)

    def with_loudness(self, prepared: Prepared, loudness: Loudness | None) -> Prepared:
        """The same with another curve, or with none; ValueError when it is no curve."""
        curve, notices = limited_curve(self, loudness, prepared.seconds)
        return replace(prepared, curve=curve, curve_notices=notices)

    @torch.no_grad()
    def generate(
        self,
        prepared: Prepared,
        *,
        loudness: Loudness | None = None,
        seeds: Sequence[int] | None = None,
        sampling: Sampling = OWN_SAMPLING,
        start_from: Sound | None = None,
        strength: float | None = None,
        keep_latents: bool = False,
    ) -> DrawAudioOutput:
        """Sounds under prepared instructions, one a seed, the best first.

        Args:
            prepared: by `prepare`, of the whole sound.
            loudness: a curve in place of the prepared one; None: the prepared one.
            seeds: one a sound; None: a random one.
            sampling: steps, guidance, callbacks.
            start_from: a sound to begin with, a file or (n,) floats at 16 kHz: its latents get as much noise as
                `strength` says, and only the rest of the schedule is sampled. It is brought to the level that training
                clips have; where it is shorter than the sound, silence follows, and what is longer is not used.
            strength: 1 keeps nothing of it, 0 gives it back as autoencoder and vocoder make it.
            keep_latents: what the sounds were decoded from comes back as well, for `regenerate`.

        Raises:
            ValueError: for a setting without what it is for, no seed, or instructions prepared for a section.
            Stopped: when `on_progress` said so.
        """
        prepared = prepared if loudness is None else self.with_loudness(prepared, loudness)
        check_weights(prepared.cavp is not None, prepared.curve is not None, sampling.guidance)
        return generate(self, prepared, seeds, sampling, start_from, strength, keep_latents)

    @torch.no_grad()
    def regenerate(
        self,
        previous: Take | DrawAudioOutput | np.ndarray,
        prepared: Prepared,
        start_seconds: float,
        end_seconds: float,
        *,
        loudness: Loudness | None = None,
        seeds: Sequence[int] | None = None,
        sampling: Sampling = OWN_SAMPLING,
        strength: float = 1.0,
    ) -> DrawAudioOutput:
        """A sound with one section made anew, under instructions that may be others; all samples outside are as they were.

        Only the windows that hold some of the section are sampled, so the cost does not grow with the rest. How it goes
        on from what is kept: `generation.sampling.denoise`; the seams: `generation.sections`.

        Args:
            previous: the sound: a take, an output (its best row), or (n,) floats at 16 kHz. Without latents they are made
                of the waveform, which loses what the autoencoder does not hold.
            prepared: by `prepare`, with the section or of the whole sound.
            start_seconds: of the section.
            end_seconds: of the section.
            loudness: a curve of the whole sound in place of the prepared one; None: the prepared one.
            seeds: one a sound; None: a random one.
            sampling: steps, guidance, callbacks.
            strength: how far the section may go from what it was; 1 keeps nothing of it.

        Returns:
            Whole sounds of the rate of `previous`, with whole latents where `previous` has them. A section beyond full
            scale was limited, which is said in `notices`. Scores are those of the windows that were sampled.

        Raises:
            ValueError: when the sound, what was prepared and the section do not belong together.
            Stopped: when `on_progress` said so.
        """
        prepared = prepared if loudness is None else self.with_loudness(prepared, loudness)
        check_weights(prepared.cavp is not None, prepared.curve is not None, sampling.guidance)
        take = previous.take() if isinstance(previous, DrawAudioOutput) else previous
        take = Take(take, None, prepared.overlap_seconds) if isinstance(take, np.ndarray) else take
        section = Section(start_seconds, end_seconds, prepared.seconds, self.latent_frames)
        return regenerate(self, take, prepared, section, seeds, sampling, strength)

    def at_level(self, waveform: np.ndarray, curve: np.ndarray | None) -> np.ndarray:
        """A decoded sound (n,) at the levels of its curve (P,), or without one at a level that the training clips have.

        As it is where `level_matching_db` is None, or where the model does not know its training's levels.
        """
        boost = self.config.level_matching_db
        if boost is None:
            return waveform
        if curve is not None:
            return follow_curve(waveform, curve, max_boost_db=boost)
        if self.domain is None:
            return waveform
        return fit_level(waveform, self.domain.config.quietest_rms, self.domain.config.loudest_rms)

    def sounds(self, latents: Tensor, conditions: Conditions, *, matched: bool = True) -> np.ndarray:
        """(B, samples) the decoded latents (B, C, N, K) of B sets of instructions.

        Args:
            latents: sampled under `conditions`.
            conditions: whose curves the levels are matched to; see `at_level`.
            matched: False leaves the levels as sampled.
        """
        decoded = self.decode(latents)
        if not matched:
            return decoded
        curves = zip(conditions.loudness.float().cpu().numpy(), conditions.with_loudness().tolist(), strict=True)
        given = [curve if has_curve else None for curve, has_curve in curves]
        return np.stack([self.at_level(sound, curve) for sound, curve in zip(decoded, given, strict=True)])

    def conditions(
        self,
        text: TextEmbeddings,
        negative: TextEmbeddings,
        *,
        cavp: Tensor | None = None,
        cavp_masked: Tensor | None = None,
        loudness: Tensor | None = None,
        seconds: int = CLIP_SECONDS,
    ) -> Conditions:
        """B sets of instructions from embeddings and features, computed here or read from training shards.

        Args:
            text: embeddings of B texts, "" for no text.
            negative: embeddings of B texts for the unconditional branch, normally "".
            cavp: (B, V, D) with V = 4 * seconds; None: no video.
            cavp_masked: (B, V, D); None: no mask, the whole frame.
            loudness: (B, P) with P = 10 * seconds; None: no curve.
            seconds: of whole windows: 8, or what `generation.windows.window_starts_seconds` covers.

        Raises:
            ValueError: when a tensor has another shape.
        """
        return conditions(self, text, negative, cavp, cavp_masked, loudness, seconds)

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        *,
        seeds: Sequence[int],
        num_inference_steps: int = STEPS,
        guidance_text: float | None = None,
        guidance_video: float | None = None,
        guidance_loudness: float | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        overlap_seconds: int = windows.OVERLAP_SECONDS,
        branches_together: bool | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> Tensor:
        """(B, C, N, K) float32 latents sampled under B sets of instructions; row i starts from the noise of seeds[i].

        The arguments are those of a call; its guidance is not changed for a missing video.

        Raises:
            ValueError: when there are not B seeds, or fewer than one step.
        """
        asked = Guidance(guidance_text, guidance_video, guidance_interval, guidance_loudness)
        return self.sample_latents(
            conditions,
            asked.resolved(self.own_guidance),
            seeds=seeds,
            num_inference_steps=num_inference_steps,
            overlap_seconds=overlap_seconds,
            branches_together=branches_together,
            callback_on_step_end=callback_on_step_end,
        )

    @property
    def own_guidance(self) -> Guidance:
        """The weights where a call gives none."""
        return Guidance.from_settings(self.config)

    @torch.no_grad()
    def sample_latents(
        self,
        conditions: Conditions,
        guidance: Guidance,
        *,
        seeds: Sequence[int],
        num_inference_steps: int = STEPS,
        overlap_seconds: int = windows.OVERLAP_SECONDS,
        branches_together: bool | None = None,
        given: Given | None = None,
        callback_on_step_end: StepCallback | None = None,
        teller: Teller = SILENT,
    ) -> Tensor:
        """As `sample`, under a guidance that has every weight (`Guidance.resolved`); begins with a sound that is given.

        Raises:
            ValueError: when there are not B seeds, or fewer than one step.
        """
        settings = num_inference_steps, overlap_seconds, branches_together, given, callback_on_step_end, teller
        return sample_latents(self, conditions, guidance, seeds, *settings)

    @torch.no_grad()
    def decode(
        self, latents: Tensor, *, overlap_seconds: int = windows.OVERLAP_SECONDS, teller: Teller = SILENT
    ) -> np.ndarray:
        """(B, samples) float32 waveforms of latents (B, C, N, K): autoencoder window by window, then the vocoder.

        A peak above 1 is possible; nothing is rescaled here.
        """
        return decode(self, latents, overlap_seconds, teller)

    @torch.no_grad()
    def encode(self, waveforms: np.ndarray, *, overlap_seconds: int = windows.OVERLAP_SECONDS) -> Tensor:
        """(B, C, N, K) float32 latents that decode to waveforms (B, samples) of whole windows, window by window."""
        return encode(self, waveforms, overlap_seconds)

    @property
    def denoiser(self) -> Denoiser:
        """The networks that were trained, made from the pipeline's own parts."""
        return Denoiser(self.unet, self.mask_attention, self.loudness_control, self.config.loudness_branches)

    @property
    def text(self) -> TextConditioner:
        """Texts to embeddings, with the pipeline's own encoders."""
        return TextConditioner(**{name: getattr(self, name) for name in TEXT_COMPONENTS})

    @property
    def latent_frames(self) -> int:
        """F: latent frames of one window."""
        return MEL_FRAMES // compression(self.vae)

    @property
    def latent_bins(self) -> int:
        """K: latent mel bins."""
        return MEL_BINS // compression(self.vae)
