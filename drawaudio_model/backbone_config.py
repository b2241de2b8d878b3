"""Settings of the small backbones' trainings, each with the named runs `demo`, `control`, `small` and `tiny`.

No library is loaded here: the dataset builder asks whether a backbone was made with these settings, and imports no trainer.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of the small autoencoder."""

    patch: int = 8
    """Frames and bins of a patch: the denoiser sees 2 times fewer places than at full size on each axis."""
    latent_channels: int = 16
    """Numbers kept of each patch. With AudioLDM2's 8, strokes lose their attack (their onset envelope correlates with the
    real one by 0.79, not 0.95)."""
    knee: float = -7.0
    """Log-mel below which differences are pressed together: some 60 dB below a loud sound's strongest bins."""

    @staticmethod
    def demo() -> "AutoencoderConfig":
        """Seconds, most of them for reading the sounds."""
        return AutoencoderConfig()

    @staticmethod
    def control() -> "AutoencoderConfig":
        """As `demo`."""
        return AutoencoderConfig()

    @staticmethod
    def small() -> "AutoencoderConfig":
        """As `demo`."""
        return AutoencoderConfig()

    @staticmethod
    def tiny() -> "AutoencoderConfig":
        """A rough sound."""
        return AutoencoderConfig(latent_channels=4)


@dataclass(frozen=True)
class TextConfig:
    """Sizes and run of the small text encoders."""

    vocab_size: int = 2048
    """Upper limit; a few hundred captions do not fill it."""
    width: int = 64
    """Of CLAP, T5 and GPT-2; the target tokens are CLAP's states, so GPT-2 is as wide as CLAP."""
    layers: int = 2
    clap_steps: int = 180
    t5_steps: int = 140
    gpt_steps: int = 130
    batch_size: int = 24
    learning_rate: float = 2e-3
    hidden_share: float = 0.3
    """Share of a caption's tokens that T5 has to guess."""
    wordings_per_sound: int = 4
    """Texts of each sound in a step of CLAP; 1 for a clip that has only its caption."""
    caption_share: float = 0.2
    """Share of texts that are the clip's own caption where there are other wordings."""
    dropped_share: float = 0.2
    """Share of tokens hidden from CLAP and from T5 while they learn the sound, so that they do not rely on a single word."""
    sound_batch_multiple: int = 6
    """Texts in a batch of T5's encoder, which predicts their sound, for each in the decoder's: a rare word needs many."""
    sound_weight: float = 10.0
    """Weight of predicting the sound from T5's mean state, beside the mean loss of a token."""
    null_share: float = 0.1
    """Share of captions that GPT-2 sees empty, so that the null text means the average sound."""

    @staticmethod
    def demo() -> "TextConfig":
        """About 80 s on two idle cores."""
        return TextConfig()

    @staticmethod
    def control() -> "TextConfig":
        """About 2 min on two idle cores."""
        return TextConfig(clap_steps=300, t5_steps=220, gpt_steps=200)

    @staticmethod
    def small() -> "TextConfig":
        """About 25 s on two idle cores."""
        return TextConfig(clap_steps=90, t5_steps=60, gpt_steps=60)

    @staticmethod
    def tiny() -> "TextConfig":
        """A few seconds."""
        return TextConfig(vocab_size=300, width=16, clap_steps=6, t5_steps=6, gpt_steps=4, batch_size=4)


@dataclass(frozen=True)
class CavpConfig:
    """Sizes and run of the small CAVP."""

    video_width: int = 12
    """Base channels of SlowOnly; Diff-Foley's has 64. On the demo's test clips a thing under a drawn mask is told in 0.93 with 12
    and 1200 steps, in 0.90 with 8 and 1500, in 0.82 with 8 and 900."""
    video_blocks: tuple[int, int, int, int] = (1, 1, 1, 1)
    audio_width: int = 4
    """Base channels of Cnn14; Diff-Foley's has 64."""
    embed_dim: int = 64
    image_size: int = 64
    first_steps: int = 1200
    """Steps of the first stage."""
    first_views: int = 32
    """Stretches of pictures in a batch of the first stage. Many different ones teach more than long ones."""
    first_frames: int = 2
    """V of those stretches; the least from which the temporal kernels learn."""
    first_sounds: int = 64
    """Stretches of sound, of `window_frames`, in a batch of the first stage."""
    first_learning_rate: float = 6e-3
    window_frames: int = 4
    """V of the contrast; Diff-Foley's has 16."""
    steps: int = 40
    """Steps of the contrast."""
    views: int = 32
    """B of the contrast."""
    windows: int = 2
    """N; Diff-Foley has 3."""
    learning_rate: float = 1e-3
    """Small, so that the contrast refines what the first stage learnt."""
    temporal_weight: float = 0.1
    """Of the temporal term; Diff-Foley has 1."""
    label_weight: float = 0.5
    """Weight that the first stage's questions keep in the contrast."""

    @staticmethod
    def demo() -> "CavpConfig":
        """About 3 min on an idle core."""
        return CavpConfig()

    @staticmethod
    def control() -> "CavpConfig":
        """About 5 min on two idle cores."""
        return CavpConfig(first_steps=1600, steps=80)

    @staticmethod
    def small() -> "CavpConfig":
        """About 30 s on two idle cores: it tells things apart less well."""
        return CavpConfig(first_steps=220, steps=1)

    @staticmethod
    def tiny() -> "CavpConfig":
        """A few seconds; the features know little."""
        return CavpConfig(
            video_width=4,
            audio_width=2,
            embed_dim=16,
            image_size=32,
            first_steps=4,
            first_views=4,
            first_sounds=4,
            steps=4,
            views=2,
        )


@dataclass(frozen=True)
class DetectorConfig:
    """Sizes and run of the small detector."""

    image_size: int = 160
    """Side in pixels of the square picture that the detector sees."""
    width: float = 0.125
    """Factor on the channels of yolov8-worldv2 (its smallest published size has 0.25)."""
    depth: float = 0.33
    """Factor on its repeats."""
    frame_step: int = 2
    """Every so many-th of a clip's frames is used; neighbours hardly differ."""
    steps: int = 240
    batch_size: int = 8
    learning_rate: float = 2e-3
    phrases_per_picture: int = 8
    """N: the objects' own names and others that are not in the picture."""
    crop_size: int = 48
    """Side in pixels of the crop that CLIP's picture tower sees."""
    clip_width: int = 96
    clip_layers: int = 3
    clip_steps: int = 100
    clip_batch_size: int = 32
    names_per_crop: int = 3
    """Names of each crop in a step of CLIP: a thing has many, and the text tower costs little."""
    clip_learning_rate: float = 1e-3

    @staticmethod
    def demo() -> "DetectorConfig":
        """About 90 s on two idle cores."""
        return DetectorConfig()

    @staticmethod
    def control() -> "DetectorConfig":
        """About 150 s on two idle cores."""
        return DetectorConfig(steps=400, clip_steps=160)

    @staticmethod
    def small() -> "DetectorConfig":
        """As `demo`: after half of these steps it does not find the README's bell."""
        return DetectorConfig()

    @staticmethod
    def tiny() -> "DetectorConfig":
        """A few seconds; the boxes mean nothing yet."""
        return DetectorConfig(
            image_size=96, frame_step=10, steps=4, batch_size=4, clip_width=32, clip_layers=1, clip_steps=8
        )


@dataclass(frozen=True)
class VocoderConfig:
    """Sizes and run of the small vocoder."""

    width: int = 160
    blocks: int = 5
    steps: int = 250
    batch_size: int = 8
    crop_frames: int = 96
    """Mel frames of a training crop (1 s)."""
    learning_rate: float = 2e-3
    compared_clips: int = 4
    """Held-out clips of 8 s on which the report compares with Griffin-Lim, which takes most of that time."""

    @staticmethod
    def demo() -> "VocoderConfig":
        """About 40 s on two idle cores."""
        return VocoderConfig()

    @staticmethod
    def control() -> "VocoderConfig":
        """About 4 min on two idle cores."""
        return VocoderConfig(steps=2000)

    @staticmethod
    def small() -> "VocoderConfig":
        """About 15 s on two idle cores; the sound is a bit rougher."""
        return VocoderConfig(steps=100, compared_clips=1)

    @staticmethod
    def tiny() -> "VocoderConfig":
        """A few seconds; the sound stays rough."""
        return VocoderConfig(width=32, blocks=2, steps=20, batch_size=4, compared_clips=1)


BackboneConfig = AutoencoderConfig | TextConfig | CavpConfig | DetectorConfig | VocoderConfig

CONFIGS: Mapping[str, type[BackboneConfig]] = {
    "audio_autoencoder": AutoencoderConfig,
    "text_encoders": TextConfig,
    "cavp_backbone": CavpConfig,
    "object_detector": DetectorConfig,
    "vocoder": VocoderConfig,
}
"""Name of a backbone -> the class of its settings."""


def backbone_config(name: str, run: str) -> BackboneConfig:
    """The settings of a backbone's training.

    Args:
        name: of the backbone, one of CONFIGS.
        run: "demo", "control", "small" or "tiny".
    """
    return getattr(CONFIGS[name], run)()
