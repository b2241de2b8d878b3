"""The check that the parts of a pipeline belong together, by the sizes that two of them share."""

from diffusers import DiffusionPipeline

from drawaudio_model.clip_format import LOUDNESS_POINTS, MEL_BINS, MEL_FRAMES, VIDEO_FRAMES
from drawaudio_model.patch_autoencoder import compression


def check_parts(pipe: DiffusionPipeline) -> None:
    """Raises ValueError when two parts of a DrawAudioPipeline disagree about a size that they share."""
    times = compression(pipe.vae)
    if MEL_FRAMES % times or MEL_BINS % times:
        raise ValueError(
            f"autoencoder compresses {times} times, expected a divisor of {MEL_FRAMES} mel frames and "
            f"{MEL_BINS} mel bins; use one with fewer levels"
        )
    unet, attention = pipe.unet.config, pipe.mask_attention.config
    pairs = (
        ("latent channels", "autoencoder", pipe.vae.config.latent_channels, "UNet", unet.out_channels),
        (
            "channels of latent and loudness signal",
            "loudness control",
            pipe.vae.config.latent_channels + pipe.loudness_control.added_channels,
            "UNet",
            unet.in_channels,
        ),
        ("video token width", "mask attention", attention.width, "UNet", unet.video_attention_dim),
        ("video feature width", "CAVP", pipe.cavp.config.embed_dim, "mask attention", attention.cavp_dim),
        (
            "latent frames",
            "autoencoder",
            pipe.latent_frames,
            "loudness control",
            pipe.loudness_control.config.latent_frames,
        ),
        (
            "loudness points",
            "clip",
            LOUDNESS_POINTS,
            "loudness control",
            pipe.loudness_control.config.loudness_points,
        ),
        ("sound channels", "clip", 1, "autoencoder", pipe.vae.config.in_channels),
        ("GPT width", "language model", pipe.language_model.config.n_embd, "UNet", pipe.unet.gpt_width),
        ("T5 width", "text encoder", pipe.text_encoder_2.config.d_model, "UNet", pipe.unet.t5_width),
    )
    for what, first, value, second, other in pairs:
        if value != other:
            raise ValueError(f"{what}: the {first} has {value}, the {second} {other}; load parts of one model")
    if attention.positions < VIDEO_FRAMES:
        raise ValueError(
            f"mask attention has {attention.positions} positions, expected at least the clip's {VIDEO_FRAMES} frames"
        )
