"""The small audio autoencoder: log-mel patches to a few numbers and back, computed in closed form instead of trained.

A patch of 8 frames x 8 bins is projected on the directions in which the patches of the training clips differ most (the
Karhunen-Loeve transform, or principal components). In the seconds that it takes to compute them, a convolutional
autoencoder of AudioLDM2's kind learns next to nothing: on the rendered world 700 steps of one, three minutes on two cores,
left a mean error of 0.64 nats with 8 channels, these 0.21, and 0.10 with 16.

It stands in AutoencoderKL's place: the same calls, configuration and posterior.

Legend: B batch, T mel frames, M mel bins, p side of a patch, C latent channels, F = T / p, K = M / p.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from drawaudio_model.clip_format import MEL_BINS
from drawaudio_model.mel import SILENCE
from drawaudio_model.model_folder import read_json

DEVIATION = 0.01
"""Standard deviation of the posterior, of latents as they are learnt (scaled to a standard deviation of 1)."""

LOUDEST = 3.51
"""No sound within full scale has a larger log-mel: the sum of the window, 512, times the largest sum of a mel filter's weights,
0.0651, has the logarithm 3.507."""


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """(B, 1, T, M) raw log-mels to latents (B, C, F, K) and back, patch by patch.

    Args:
        patch: frames and bins of a patch.
        latent_channels: directions that are kept.
        scaling_factor: 1 / standard deviation of the latents, as in AudioLDM2.
        in_channels: of the log-mel; 1.
        knee: log-mel, in nats, below which differences are pressed together (`pressed`); None: nowhere.
    """

    @register_to_config
    def __init__(
        self,
        patch: int = 8,
        latent_channels: int = 16,
        scaling_factor: float = 1.0,
        in_channels: int = 1,
        knee: float | None = None,
    ) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(MEL_BINS), requires_grad=False)  # (M,) of each bin, nats
        self.basis = nn.Parameter(torch.eye(patch**2)[:latent_channels].clone(), requires_grad=False)  # (C, p * p)
        self.spread = nn.Parameter(torch.ones(latent_channels), requires_grad=False)  # (C,) of a latent of 1

    def encode(self, mel: Tensor) -> AutoencoderKLOutput:
        """The posterior of log-mels (B, 1, T, M).

        Raises:
            ValueError: when they are no whole number of patches.
        """
        patch = self.config.patch
        if mel.ndim != 4 or mel.shape[2] % patch or mel.shape[3] != MEL_BINS:
            raise ValueError(
                f"log-mels have shape {tuple(mel.shape)}, expected (B, 1, T, {MEL_BINS}) with T a multiple of {patch}; pad "
                "them with silence"
            )
        coefficients = patches(pressed(mel, self.config.knee) - self.mean, patch) @ self.basis.T  # (B, F, K, C)
        mean = (coefficients / self.spread).permute(0, 3, 1, 2)
        noise = 2 * torch.log(torch.as_tensor(DEVIATION / self.config.scaling_factor))
        posterior = DiagonalGaussianDistribution(torch.cat([mean, torch.full_like(mean, float(noise))], dim=1))
        return AutoencoderKLOutput(latent_dist=posterior)

    def decode(self, latents: Tensor) -> DecoderOutput:
        """Log-mels (B, 1, T, M) of latents (B, C, F, K), from SILENCE to LOUDEST.

        Latents that no sound has, of a denoiser that has hardly learnt, would else give magnitudes beyond any number.
        """
        coefficients = latents.permute(0, 2, 3, 1) * self.spread
        mel = joined(coefficients @ self.basis, self.config.patch) + self.mean
        return DecoderOutput(sample=unpressed(mel, self.config.knee).clamp(SILENCE, LOUDEST))


def pressed(mel: Tensor, knee: float | None) -> Tensor:
    """Log-mels of any shape as softplus(mel - knee): above the knee as they are, less the knee; far below it 0.

    Half of the range of log-mels lies between silence and levels that are hardly audible beside a sound. Latents that give
    it as much room as the sounds themselves make a denoiser's small errors large: 3 % of the range are 3.5 dB.
    """
    return mel if knee is None else functional.softplus(mel - knee)


def unpressed(values: Tensor, knee: float | None) -> Tensor:
    """The reverse of `pressed`; minus infinity where there is nothing left."""
    return values if knee is None else knee + torch.log(torch.expm1(values.clamp_min(0)))


def fit_patches(
    mels: Tensor | Sequence[Tensor], *, patch: int, latent_channels: int, knee: float | None = None
) -> PatchAutoencoder:
    """The autoencoder whose latents explain most of the variance of N log-mels (T, M).

    A channel is divided by the square root of its standard deviation, so that the one that carries the level still has the
    largest, but does not dominate a denoiser's mean squared error. Sums are taken clip by clip, so that nothing else as
    large as the log-mels is held in memory.

    Raises:
        ValueError: when there are fewer patches, or smaller ones, than channels.
    """
    if not 1 <= latent_channels <= patch**2:
        raise ValueError(
            f"latent_channels is {latent_channels}, expected 1 to {patch**2} with patches of {patch} x {patch}"
        )
    count = sum(mel.numel() for mel in mels) // patch**2
    if count < latent_channels:
        raise ValueError(f"{count} patches are too few for {latent_channels} channels; read more clips")
    mean = sum(pressed(mel.double(), knee).sum(dim=0) for mel in mels) / sum(len(mel) for mel in mels)

    def cut(mel: Tensor) -> Tensor:
        return patches((pressed(mel.double(), knee) - mean)[None, None], patch).reshape(-1, patch**2)

    moments = sum(part.T @ part for part in map(cut, mels)) / count
    variances, directions = torch.linalg.eigh(moments)  # ascending
    variances, basis = variances.flip(0)[:latent_channels], directions.flip(1).T[:latent_channels]
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    basis = basis * largest.sign()  # else the sign is the library's whim
    model = PatchAutoencoder(patch=patch, latent_channels=latent_channels, knee=knee)
    model.mean.copy_(mean)
    model.basis.copy_(basis)
    model.spread.copy_(variances.clamp_min(1e-8) ** 0.25)
    weights = basis.T / model.spread.double()  # (p * p, C)
    centre = sum(cut(mel).sum(dim=0) for mel in mels) / count @ weights  # (C,)
    square = (weights * (moments @ weights)).sum(dim=0)  # (C,)
    model.register_to_config(scaling_factor=float(1.0 / (square.mean() - centre.mean() ** 2).sqrt()))
    return model.eval()


def patches(mel: Tensor, patch: int) -> Tensor:
    """(B, F, K, p * p) of log-mels (B, 1, T, M)."""
    batch, _, frames, bins = mel.shape
    cut = mel.reshape(batch, frames // patch, patch, bins // patch, patch)
    return cut.permute(0, 1, 3, 2, 4).reshape(batch, frames // patch, bins // patch, patch**2)


def joined(cut: Tensor, patch: int) -> Tensor:
    """(B, 1, T, M) of patches (B, F, K, p * p): the reverse of `patches`."""
    batch, frames, bins, _ = cut.shape
    mel = cut.reshape(batch, frames, bins, patch, patch).permute(0, 1, 3, 2, 4)
    return mel.reshape(batch, 1, frames * patch, bins * patch)


def load_autoencoder(folder: Path) -> PatchAutoencoder | AutoencoderKL:
    """The audio autoencoder of a folder, ready to use: one of patches, or AudioLDM2's class.

    Raises:
        ValueError: when the config names another class.
    """
    name = read_json(Path(folder) / "config.json", needed=("_class_name",))["_class_name"]
    classes = {kind.__name__: kind for kind in (PatchAutoencoder, AutoencoderKL)}
    if name not in classes:
        raise ValueError(
            f"{folder} holds a {name}, expected one of {', '.join(classes)}; materialize audio_autoencoder again"
        )
    return classes[name].from_pretrained(folder).eval()


def compression(autoencoder: PatchAutoencoder | AutoencoderKL) -> int:
    """Mel frames a latent frame, and bins a latent bin."""
    if isinstance(autoencoder, PatchAutoencoder):
        return autoencoder.config.patch
    return 2 ** (len(autoencoder.config.block_out_channels) - 1)  # every level but the last halves both axes
