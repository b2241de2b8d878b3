"""DrawAudioPipeline: a silent video, a text, a mask and a drawn curve become sound.

Each sampling step evaluates the UNet on up to three branches (nothing, text, text and video) and combines them as
Eq. (12), and on a fourth where the loudness shall count more; the loudness signal is added to the latent before the UNet
(generation/sampling.py). Several candidates are sampled and decoded one at a time, so memory does not grow with their number.

Legend: B batch, C latent channels, F latent frames of one 8 s window, N latent frames of the whole sound, K latent mel
bins, V video frames, P loudness points, D CAVP width, L text tokens, T mel frames, M mel bins.

Paper: Sec. "Draw an Audio" and "Implementation details" (DPM-Solver, 25 steps, s_text 3.5, s_video 4.5).
"""

import logging
import secrets
from collections.abc import Callable, Sequence
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
from drawaudio_model.clip_format import (
    CLIP_SECONDS,
    LOUDNESS_FPS,
    MEL_BINS,
    MEL_FRAMES,
    SAMPLE_RATE,
    VIDEO_FPS,
)
from drawaudio_model.defaults import SAMPLING_STEPS
from drawaudio_model.denoiser import Conditions, Denoiser
from drawaudio_model.generation import windows
from drawaudio_model.generation.candidates import clap_score, curve_score, rank
from drawaudio_model.generation.freed_memory import return_freed_memory
from drawaudio_model.generation.instructions import (
    Loudness,
    Mask,
    Video,
    check_given,
    check_seed,
    detector_in,
    drawn_mask,
    find_boxes,
    hold_last,
    is_text,
    read_loudness,
    read_video,
)
from drawaudio_model.generation.output import DrawAudioOutput
from drawaudio_model.generation.parts import check_parts
from drawaudio_model.generation.sampling import guided_step, prepare_windows, sampling_solver, starting_noise
from drawaudio_model.guidance import LOUDNESS_BRANCHES, LOUDNESS_SCALE, TEXT_SCALE, VIDEO_SCALE, Guidance, Visible
from drawaudio_model.levels.matching import fit_level, follow_curve, shortfall_notice
from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.masks import apply_mask
from drawaudio_model.mel import GriffinLimVocoder, check_vocoder, vocode
from drawaudio_model.model_card import write_model_card
from drawaudio_model.model_folder import check_model_folder, detector_beside
from drawaudio_model.patch_autoencoder import PatchAutoencoder, compression
from drawaudio_model.text import TextConditioner, TextEmbeddings
from drawaudio_model.training_domain import TrainingDomain
from drawaudio_model.unet import DrawAudioUNet
from drawaudio_model.vocoder import SpectralVocoder

if TYPE_CHECKING:
    from drawaudio_model.detector import ObjectDetector

logger = logging.getLogger(__name__)

StepCallback = Callable[["DrawAudioPipeline", int, int, dict[str, Tensor]], Any]

STEPS = SAMPLING_STEPS


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
        domain: the limits of the training, for notices about instructions beyond them; None: unknown.
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
    model_cpu_offload_seq = "text_encoder->text_encoder_2->projection_model->language_model->cavp->unet->vae->vocoder"

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

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Writes the folder of `from_pretrained`, with a model card that names the licence.

        Args:
            save_directory: the folder.
            **kwargs: diffusers' own.
        """
        super().save_pretrained(save_directory, **kwargs)
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
        callback_on_step_end: StepCallback | None = None,
    ) -> DrawAudioOutput:
        """The sound of a video, as the instructions say.

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
                Without a video, a model whose own s_text is 0 uses its s_video instead: only the text steers then.
            guidance_video: s_video of Eq. (12), likewise; without a video it is 0.
            guidance_loudness: s_loudness, the extra weight of the curve; 0: none; None: the model's own. It needs a model that
                was trained with signal dropout, and one more evaluation a step.
            guidance_interval: share of the noise schedule in which the unconditional branches are evaluated; see
                `guidance.Guidance`. Default: all of it.
            seed: of the noise; the same seed gives the same bytes on a CPU. None: a random one, in `.seeds`.
            num_candidates: sounds to make from seed, seed + 1, ...; ranked by how well they follow the curve and, by
                CLAP, the text.
            overlap_seconds: shared by the windows of a sound longer than 8 s.
            branches_together: evaluate the branches in one batch (True), or one after another, which takes less memory
                (False); None: in one batch where the free memory allows it.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": (1, C, N, K)}) after each step of
                each candidate; the "latents" of a dictionary that it returns take their place.

        Memory grows with the length: the frames (at most 640 pixels wide, 4 a second) are held, with a mask a second time,
        and the vocoder takes the whole log-mel at once. Cut a video of more than about ten minutes.

        Raises:
            ValueError: when there is no instruction, a setting has no instruction to act on, or an instruction cannot be read.
        """
        requested = Guidance(guidance_text, guidance_video, guidance_interval, guidance_loudness)
        check_given(video, prompt, mask, loudness, video_fps=video_fps, guidance=requested, mask_invert=mask_invert)
        if num_candidates < 1:
            raise ValueError(f"num_candidates is {num_candidates}, expected at least 1")
        check_seed(seed)
        guidance = requested.resolved(self.own_guidance, has_video=video is not None)
        picture = None if video is None else read_video(video, video_fps=video_fps, seconds=seconds)
        seconds = picture.seconds if picture else float(CLIP_SECONDS if seconds is None else seconds)
        whole = self._window_starts(seconds, overlap_seconds)[-1] + CLIP_SECONDS
        curve = None if loudness is None else read_loudness(loudness, seconds)
        notices = []
        if curve is not None and self.domain is not None:
            curve, cut = self.domain.limit_curve(curve)
            notices += [cut] if cut else []
        cavp, masked, said = self._picture_features(picture and picture.frames, mask, whole * VIDEO_FPS, mask_invert)
        notices += said
        return_freed_memory()
        # Both at once: with short texts most of the time goes into reading the encoders' weights.
        texts = self.text([prompt or "", negative_prompt or ""])
        text, negative = texts.select([0]), texts.select([1])
        if self.domain is not None:
            strange = [
                self.domain.notice_of_words(prompt, text.clap[0]) if prompt else None,
                self.domain.notice_of_pictures(picture.frames) if picture else None,
            ]
            notices += [sentence for sentence in strange if sentence]
        conditions = self.conditions(
            text,
            negative,
            cavp=cavp,
            cavp_masked=masked,
            loudness=None if curve is None else torch.from_numpy(hold_last(curve, whole * LOUDNESS_FPS))[None],
            seconds=whole,
        )
        first = secrets.randbelow(2**31) if seed is None else seed
        seeds = [first + candidate for candidate in range(num_candidates)]
        audios = []
        for candidate in seeds:
            latent = self.sample_latents(
                conditions,
                guidance,
                seeds=[candidate],
                num_inference_steps=num_inference_steps,
                overlap_seconds=overlap_seconds,
                branches_together=branches_together,
                callback_on_step_end=callback_on_step_end,
            )
            return_freed_memory()
            # Cut before ranking: whole windows are sampled, and the last may reach beyond the end.
            whole_sound = self.decode(latent, overlap_seconds=overlap_seconds)[0]
            audios.append(self.at_level(whole_sound[: round(seconds * SAMPLE_RATE)], curve))
        following = None if curve is None else np.array([curve_score(audio, curve) for audio in audios])
        fitting = None
        if prompt and num_candidates > 1:
            fitting = np.array(
                [clap_score(self.text_encoder, self.feature_extractor, audio, text.clap[0]) for audio in audios]
            )
        if curve is not None and (short := shortfall_notice(audios[0], curve)):
            notices.append(short)
        for sentence in notices:
            logger.warning("%s", sentence)
        ranking = rank(following, fitting, num_candidates)
        return DrawAudioOutput(
            audios=np.stack(audios)[ranking.order],
            seeds=[seeds[index] for index in ranking.order],
            curve=curve,
            notices=notices,
            scores=ranking.scores,
            curve_scores=ranking.curve,
            clap_scores=ranking.clap,
            peaks=[float(np.abs(audios[index]).max()) for index in ranking.order],
        )

    def at_level(self, waveform: np.ndarray, curve: np.ndarray | None) -> np.ndarray:
        """A decoded sound (n,) at the levels of its curve (P,), or without a curve at a level within the training clips' range.

        The sound is returned unchanged where `level_matching_db` is None or the model has no record of its training's levels.
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
        curves = conditions.loudness.float().cpu().numpy()
        curves_or_none = [
            curve if has_curve else None
            for curve, has_curve in zip(curves, conditions.with_loudness().tolist(), strict=True)
        ]
        return np.stack([self.at_level(sound, curve) for sound, curve in zip(decoded, curves_or_none, strict=True)])

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
        batch = len(text)
        frames = (batch, seconds * VIDEO_FPS, self.mask_attention.config.cavp_dim)
        points = (batch, seconds * LOUDNESS_FPS)
        for name, tensor, shape in (
            ("cavp", cavp, frames),
            ("cavp_masked", cavp_masked, frames),
            ("loudness", loudness, points),
        ):
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape} for {batch} x {seconds} s")

        def placed(tensor: Tensor) -> Tensor:
            return tensor.to(self._execution_device, self.unet.dtype)

        if loudness is not None and self.domain is not None:
            loudness = loudness.clamp(max=self.domain.config.loudest_level)
        visual = placed(torch.zeros(frames) if cavp is None else cavp)
        everyone = torch.ones(batch, dtype=torch.bool, device=self._execution_device)
        return Conditions(
            text=text,
            null_text=negative,
            cavp=visual,
            cavp_masked=visual if cavp_masked is None else placed(cavp_masked),
            loudness=placed(torch.zeros(points) if loudness is None else loudness),
            present=Visible(
                text=True,
                video=everyone & (cavp is not None),
                loudness=everyone & (loudness is not None),
                mask=cavp_masked is not None,
            ),
        )

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
        requested = Guidance(guidance_text, guidance_video, guidance_interval, guidance_loudness)
        return self.sample_latents(
            conditions,
            requested.resolved(self.own_guidance),
            seeds=seeds,
            num_inference_steps=num_inference_steps,
            overlap_seconds=overlap_seconds,
            branches_together=branches_together,
            callback_on_step_end=callback_on_step_end,
        )

    @property
    def own_guidance(self) -> Guidance:
        """The model's own weights, for calls that name none."""
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
        callback_on_step_end: StepCallback | None = None,
    ) -> Tensor:
        """As `sample`, under a guidance that has every weight (`Guidance.resolved`).

        Raises:
            ValueError: when there are not B seeds, or fewer than one step.
        """
        batch = len(conditions.loudness)
        if len(seeds) != batch:
            raise ValueError(f"{len(seeds)} seeds for {batch} sets of instructions, expected one each")
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}, expected at least 1, such as {STEPS}")
        starts = self._window_starts(conditions.loudness.shape[1] // LOUDNESS_FPS, overlap_seconds)
        denoiser = self.denoiser
        prepared = prepare_windows(
            denoiser, conditions, starts=starts, guidance=guidance, branches_together=branches_together
        )
        first_frames = [start * self.latent_frames // CLIP_SECONDS for start in starts]
        solver = sampling_solver(self.scheduler, num_inference_steps, self._execution_device)
        shape = (self.vae.config.latent_channels, first_frames[-1] + self.latent_frames, self.latent_bins)
        latents = starting_noise(seeds, shape, self._execution_device) * solver.init_noise_sigma

        def guided(number: int, part: Tensor) -> Tensor:
            level = float(timestep) / solver.config.num_train_timesteps
            return guided_step(denoiser, prepared[number], part, timestep, level)

        with self.progress_bar(total=num_inference_steps) as bar:
            for step, timestep in enumerate(solver.timesteps):
                noise = windows.blended(latents, first_frames, self.latent_frames, guided)
                latents = solver.step(noise, timestep, latents).prev_sample
                if callback_on_step_end is not None:
                    returned = callback_on_step_end(self, step, int(timestep), {"latents": latents})
                    latents = returned.get("latents", latents) if isinstance(returned, dict) else latents
                bar.update()
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor, *, overlap_seconds: int = windows.OVERLAP_SECONDS) -> np.ndarray:
        """(B, samples) float32 waveforms of latents (B, C, N, K): autoencoder window by window, then the vocoder.

        A peak above 1 is possible; nothing is rescaled here.
        """
        seconds = latents.shape[2] * CLIP_SECONDS // self.latent_frames
        first_frames = [
            start * self.latent_frames // CLIP_SECONDS for start in self._window_starts(seconds, overlap_seconds)
        ]

        def decoded(number: int, part: Tensor) -> Tensor:
            return self.vae.decode(part / self.vae.config.scaling_factor).sample  # (B, 1, T, M)

        mel = windows.blended(latents.to(self.vae.dtype), first_frames, self.latent_frames, decoded)
        return vocode(self.vocoder, mel[:, 0]).cpu().numpy()

    @property
    def denoiser(self) -> Denoiser:
        """The trained networks as one object, made of the pipeline's own parts."""
        return Denoiser(self.unet, self.mask_attention, self.loudness_control, self.config.loudness_branches)

    @property
    def text(self) -> TextConditioner:
        """Texts to embeddings, with the pipeline's own encoders."""
        return TextConditioner(
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            text_encoder_2=self.text_encoder_2,
            tokenizer_2=self.tokenizer_2,
            projection_model=self.projection_model,
            language_model=self.language_model,
        )

    @property
    def latent_frames(self) -> int:
        """F: latent frames of one window."""
        return MEL_FRAMES // compression(self.vae)

    @property
    def latent_bins(self) -> int:
        """K: latent mel bins."""
        return MEL_BINS // compression(self.vae)

    def _window_starts(self, seconds: float, overlap_seconds: int) -> tuple[int, ...]:
        return windows.window_starts_seconds(seconds, self.latent_frames, overlap_seconds)

    def _picture_features(
        self, frames: np.ndarray | None, mask: Mask | None, length: int, invert: bool = False
    ) -> tuple[Tensor | None, Tensor | None, list[str]]:
        """CAVP features of the frames and of the masked frames, (1, length, D) each, and notices about the mask."""
        if frames is None:
            return None, None, []
        held = hold_last(frames, length)
        if mask is None:
            return self.cavp.encode_frames(held), None, []
        if is_text(mask):
            self.detector = self.detector or detector_in(self.detector_folder, mask)
            mask = find_boxes(self.detector, frames, mask)
        regions, _, notices = drawn_mask(mask, *frames.shape[:3], invert=invert)
        masked = apply_mask(held, hold_last(regions, length))
        return self.cavp.encode_frames(held), self.cavp.encode_frames(masked), notices
