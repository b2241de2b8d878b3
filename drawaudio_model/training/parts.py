"""The frozen backbones that a training reads, and the pipeline that it leaves."""

from pathlib import Path

from diffusers import DDIMScheduler

from drawaudio_model.cavp import CAVP
from drawaudio_model.config import TrainConfig
from drawaudio_model.generation.candidates import published_front_end
from drawaudio_model.model_card import AUDIOLDM2, AUDIOLDM2_LICENCE
from drawaudio_model.patch_autoencoder import load_autoencoder
from drawaudio_model.pipeline import DrawAudioPipeline
from drawaudio_model.text import TextConditioner
from drawaudio_model.training.denoiser import NOISE_SCHEDULE, Denoiser, NullText
from drawaudio_model.training_domain import TrainingDomain
from drawaudio_model.vocoder import load_vocoder


def check_backbones(config: TrainConfig, backbones: Path) -> None:
    """Raises ValueError before a long run when a folder that its end needs is missing."""
    names = ["audio_autoencoder", "text_encoders", "cavp_backbone"]
    if config.unet_channels is None:
        # Their UNet comes with the autoencoder; Griffin-Lim must not take their vocoder's place unnoticed.
        names += ["unet", "vocoder"]
    for name in names:
        if not (backbones / name).is_dir():
            raise ValueError(
                f"{backbones} has no folder {name}; materialize it: dagster asset materialize -m pipelines "
                f"--select {'audio_autoencoder' if name == 'unet' else name}"
            )


def load_null_text(backbones: Path) -> NullText:
    """The embeddings of ""."""
    null = TextConditioner.from_pretrained(backbones / "text_encoders").null()
    length = int(null.t5_mask[0].sum())
    return NullText(t5=null.t5[0, :length].float().clone(), gpt=null.gpt[0].float().clone())


def build_pipeline(
    denoiser: Denoiser, backbones: Path, config: TrainConfig, domain: TrainingDomain | None = None
) -> DrawAudioPipeline:
    """The trained parts together with the frozen backbones, and `load_vocoder`'s vocoder."""
    schedule = NOISE_SCHEDULE | {"prediction_type": config.prediction}
    from_audioldm2 = config.unet_channels is None
    text = TextConditioner.from_pretrained(backbones / "text_encoders")
    return DrawAudioPipeline(
        vae=load_autoencoder(backbones / "audio_autoencoder"),
        text_encoder=text.text_encoder,
        tokenizer=text.tokenizer,
        text_encoder_2=text.text_encoder_2,
        tokenizer_2=text.tokenizer_2,
        projection_model=text.projection_model,
        language_model=text.language_model,
        unet=denoiser.unet.eval(),
        mask_attention=denoiser.mask_attention.eval(),
        loudness_control=denoiser.loudness_control.eval(),
        cavp=CAVP.from_pretrained(backbones / "cavp_backbone"),
        vocoder=load_vocoder(backbones),
        scheduler=DDIMScheduler(**schedule, set_alpha_to_one=False, steps_offset=1),
        feature_extractor=published_front_end(None) if from_audioldm2 else None,
        loudness_branches=denoiser.loudness_branches,
        **config.guidance().settings(),
        level_matching_db=config.level_matching_db,
        domain=domain,
        base_model=AUDIOLDM2 if from_audioldm2 else None,
        licence=AUDIOLDM2_LICENCE if from_audioldm2 else None,
    )
