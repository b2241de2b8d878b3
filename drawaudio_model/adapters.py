"""Adapters: the weights that a fine-tuning has changed, saved alone and put onto a base again.

A folder of adapters holds `adapters.safetensors` (the trained weights of the UNet, the mask attention and the loudness
control), `adapter_config.json` (their settings, and a fingerprint of the frozen weights that they belong to) and a model
card with the base's licence. For the paper's 82 M it takes a fifth of the whole denoiser's space, and carries nothing of
the base.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import SpeechT5HifiGan

from drawaudio_model.atomic_files import replaced_folder
from drawaudio_model.cavp import CAVP
from drawaudio_model.generation.candidates import published_front_end
from drawaudio_model.guidance import LOUDNESS_SCALE, PAPER_GUIDANCE, Guidance
from drawaudio_model.loudness_control import LoudnessControl
from drawaudio_model.mask_attention import MaskAttention
from drawaudio_model.model_card import AUDIOLDM2, AUDIOLDM2_LICENCE, write_model_card
from drawaudio_model.model_folder import PIPELINE_CLASS, check_model_folder, read_json, weight_shapes
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.text import TextConditioner
from drawaudio_model.unet import DrawAudioUNet

WEIGHTS, CONFIG = "adapters.safetensors", "adapter_config.json"
PARTS = {"adapters": (".video_attentions.",), "attention": (".attentions.", ".video_attentions.")}
"""Trained part -> strings, one of which stands in the name of each weight of the UNet that is saved."""
_MODULES = ("mask_attention", "loudness_control")
_SETTINGS = (
    "loudness_branches",
    "level_matching_db",
    "base_model",
    "licence",
)
"""Of the pipeline's own settings, those that belong to the adapters, besides its guidance."""


def save_adapters(pipe: DrawAudioPipeline, folder: Path | str, *, part: str = "adapters") -> None:
    """Writes what training changed in a pipeline.

    Args:
        pipe: with the trained weights.
        folder: is made when it does not exist; adapters that are there are replaced, once the new ones are written.
        part: "adapters" or "attention", as the run's `trainable`.

    Raises:
        ValueError: for another part (a run that trained everything is saved with `save_pretrained`), or a folder that
            holds other things.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}, expected one of {', '.join(PARTS)}; save other runs with save_pretrained")
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and holds no adapters; give a new folder")
    trained, frozen = _split(pipe.unet, part)
    weights = {f"unet.{name}": value for name, value in trained.items()}
    for module in _MODULES:
        weights |= {f"{module}.{name}": value for name, value in getattr(pipe, module).state_dict().items()}
    config = {
        "part": part,
        "frozen_sha256": _fingerprint(frozen),
        **{name: pipe.config[name] for name in _SETTINGS},
        **pipe.own_guidance.settings(),
        "prediction_type": pipe.scheduler.config.prediction_type,
        "video_attention_dim": pipe.unet.config.video_attention_dim,
        "attention_head_dim": pipe.unet.config.attention_head_dim,
        **{module: _settings(getattr(pipe, module)) for module in _MODULES},
    }
    base = {"base_model": pipe.config.base_model, "licence": pipe.config.licence}
    with replaced_folder(folder) as partial:
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, partial / WEIGHTS)
        partial.joinpath(CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        write_model_card(partial, **base, unet=pipe.unet, part=part)


def load_adapters(base: Path | str, folder: Path | str, *, cavp: Path | str | None = None) -> DrawAudioPipeline:
    """A pipeline of a base with adapters put onto it.

    Args:
        base: an AudioLDM2 checkpoint as diffusers saves it, or the folder of a DrawAudioPipeline.
        folder: what `save_adapters` wrote.
        cavp: Diff-Foley's checkpoint file or a CAVP folder; needed for AudioLDM2, which has none.

    Raises:
        ValueError: in one sentence, when a file is missing, a shape differs or the adapters belong to another base.
    """
    base, folder = Path(base), Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}; give a folder that save_adapters wrote")
    # Adapters of a time before these settings are without them.
    config = {"guidance_loudness": LOUDNESS_SCALE, "level_matching_db": None} | read_json(folder / CONFIG)
    modules = {"mask_attention": MaskAttention, "loudness_control": LoudnessControl}
    try:
        parts: dict[str, Any] = {name: kind.from_config(config[name]) for name, kind in modules.items()}
        settings, guidance = {name: config[name] for name in _SETTINGS}, Guidance.from_settings(config)
        part, heads, video_width = (config[name] for name in ("part", "attention_head_dim", "video_attention_dim"))
        frozen_sha256, prediction = config["frozen_sha256"], config["prediction_type"]
    except KeyError as error:
        raise ValueError(f"{folder / CONFIG} has no {error}; save the adapters again") from error
    index = base / "model_index.json"
    if index.is_file() and read_json(index).get("_class_name") == PIPELINE_CLASS:
        whole = DrawAudioPipeline.from_pretrained(base)
        if _as_list(whole.unet.config.attention_head_dim) != _as_list(heads):
            raise ValueError(
                f"adapters {folder} were trained with heads {heads}, {base} has {whole.unet.config.attention_head_dim}; "
                "use their base"
            )
        pipe = DrawAudioPipeline(**(dict(whole.components) | parts), **settings, **guidance.settings())
        pipe.detector_folder = whole.detector_folder
    else:
        own = {"attention_head_dim": heads, "video_width": video_width, "guidance": guidance}
        pipe = from_audioldm2(base, cavp=cavp, **own, **parts, **settings)
    # What the UNet learnt to predict is a setting of the noise schedule, and may differ from the base's.
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type=prediction)
    _load_weights(pipe, folder / WEIGHTS, part)
    _, frozen = _split(pipe.unet, part)
    if _fingerprint(frozen) != frozen_sha256:
        raise ValueError(
            f"adapters {folder} were trained on other weights than those of {base}; use their base "
            f"({config['base_model'] or 'a model trained from scratch'})"
        )
    return pipe


def from_audioldm2(
    folder: Path | str,
    *,
    cavp: Path | str | None,
    mask_attention: MaskAttention | None = None,
    loudness_control: LoudnessControl | None = None,
    attention_head_dim: int | list[int] | None = None,
    video_width: int = 768,
    loudness_branches: str = "all",
    guidance: Guidance = PAPER_GUIDANCE,
    level_matching_db: float | None = None,
    base_model: str | None = AUDIOLDM2,
    licence: str | None = AUDIOLDM2_LICENCE,
) -> DrawAudioPipeline:
    """A pipeline of AudioLDM2's published checkpoint and Diff-Foley's CAVP, with parts that change nothing yet.

    Args:
        folder: AudioLDM2 as diffusers saves it: model_index.json and a folder for each part.
        cavp: Diff-Foley's checkpoint file, or a CAVP folder.
        mask_attention: trained; default new.
        loudness_control: trained; default new, adding nothing.
        attention_head_dim: number of heads instead of the config's; see `DrawAudioUNet.from_audioldm2`.
        video_width: width of the video tokens.
        loudness_branches: as DrawAudioPipeline's.
        guidance: the weights where a call gives none.
        level_matching_db: how far a sound may be turned up to meet its curve.
        base_model: for the model card.
        licence: for the model card.

    Raises:
        ValueError: in one sentence, when a file is missing, a shape differs or a part is for another sampling rate.
    """
    folder = Path(folder)
    check_model_folder(folder, "AudioLDM2Pipeline")
    if cavp is None:
        raise ValueError(f"{folder} is an AudioLDM2 checkpoint and has no CAVP; give Diff-Foley's checkpoint as cavp")
    if not Path(cavp).exists():
        raise ValueError(f"CAVP {cavp} does not exist; give Diff-Foley's cavp_epoch66.ckpt or a CAVP folder")
    text = TextConditioner.from_pretrained(folder)
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    unet = DrawAudioUNet.from_audioldm2(
        folder / "unet", video_attention_dim=video_width, attention_head_dim=attention_head_dim
    )
    video_encoder = CAVP.from_checkpoint(cavp).video_only()
    pipe = DrawAudioPipeline(
        vae=vae.eval(),
        **text.components(),
        unet=unet,
        mask_attention=(mask_attention or MaskAttention(video_encoder.config.embed_dim, video_width)).eval(),
        loudness_control=(loudness_control or LoudnessControl(latent_channels=vae.config.latent_channels)).eval(),
        cavp=video_encoder,
        vocoder=SpeechT5HifiGan.from_pretrained(folder / "vocoder").eval(),
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler"),
        feature_extractor=published_front_end(folder / "feature_extractor"),
        loudness_branches=loudness_branches,
        **guidance.settings(),
        level_matching_db=level_matching_db,
        base_model=base_model,
        licence=licence,
    )
    pipe.enable_channels_last()
    return pipe


def _load_weights(pipe: DrawAudioPipeline, file: Path, part: str) -> None:
    """Copies the adapters' weights into the pipeline, all of them and no other."""
    expected = {f"unet.{name}": value for name, value in _split(pipe.unet, part)[0].items()}
    for module in _MODULES:
        expected |= {f"{module}.{name}": value for name, value in getattr(pipe, module).state_dict().items()}
    shapes = weight_shapes(file)
    for name in sorted(set(shapes) | set(expected)):
        wanted = tuple(expected[name].shape) if name in expected else None
        if shapes.get(name) != wanted:
            raise ValueError(
                f"{file} has {name} of shape {shapes.get(name)}, expected {wanted}; is it for another base?"
            )
    with torch.no_grad():
        for name, value in load_file(file).items():
            expected[name].copy_(value)


def _split(unet: DrawAudioUNet, part: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The UNet's weights that `part` trains, and the others; both share their memory with the UNet."""
    trained: dict[str, Tensor] = {}
    frozen: dict[str, Tensor] = {}
    for name, value in unet.state_dict().items():
        (trained if any(key in name for key in PARTS[part]) else frozen)[name] = value
    return trained, frozen


def _fingerprint(weights: dict[str, Tensor]) -> str:
    """sha256 (hex) of names and float32 values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _as_list(heads: int | list[int] | tuple[int, ...]) -> list[int]:
    return [heads] if isinstance(heads, int) else list(heads)


def _settings(module: MaskAttention | LoudnessControl) -> dict[str, Any]:
    return {name: value for name, value in module.config.items() if not name.startswith("_")}
