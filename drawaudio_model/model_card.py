"""The model card beside saved weights: what they are, what they came from, under which licence, how to use them."""

from pathlib import Path

from drawaudio_model.unet import DrawAudioUNet

AUDIOLDM2 = "cvssp/audioldm2"
AUDIOLDM2_LICENCE = "cc-by-nc-sa-4.0"
"""Of AudioLDM2's weights; share-alike, so whatever is fine-tuned from them has it too."""

_USE = """```python
from drawaudio_model.pipeline import DrawAudioPipeline

pipe = DrawAudioPipeline.from_pretrained("<this folder>")
sound = pipe("clip.mp4", "a bell rings", loudness=[(0, 0.0), (2, 0.3), (8, 0.0)], seed=7).audios[0]  # 16 kHz mono
```"""
_USE_ADAPTERS = """```python
from drawaudio_model.adapters import load_adapters

pipe = load_adapters("<folder of the base>", "<this folder>", cavp="cavp_epoch66.ckpt")
sound = pipe("clip.mp4", "a bell rings", seed=7).audios[0]  # 16 kHz mono
```"""


def write_model_card(
    folder: Path, *, base_model: str | None, licence: str | None, unet: DrawAudioUNet, part: str | None = None
) -> None:
    """Writes README.md into a folder of weights.

    Args:
        folder: a pipeline folder, or one of adapters.
        base_model: what the denoiser was fine-tuned from; None for one trained from scratch.
        licence: of the weights; None where only who trained them can say.
        unet: the denoiser, for its size.
        part: which part of the denoiser the folder holds; None for all.
    """
    total = sum(weight.numel() for weight in unet.parameters())
    video = sum(weight.numel() for name, weight in unet.named_parameters() if ".video_attentions." in name)
    title = "Draw an Audio" if part is None else f"Draw an Audio, adapters ({part})"
    use = _USE if part is None else _USE_ADAPTERS
    folder.joinpath("README.md").write_text(
        f"""{_front_matter(base_model, licence)}
# {title}

Sound for silent video, steered by text, a mask and a drawn loudness curve: an open implementation of
[Draw an Audio](https://arxiv.org/abs/2409.06135). The denoiser has {total:,} weights, {video:,} of them in the new
attention stacks that read the video.

{use}

## Licence

{_licence_words(base_model, licence)}
""",
        encoding="utf-8",
    )


def _front_matter(base_model: str | None, licence: str | None) -> str:
    lines = ["---", f"license: {licence or 'other'}", "library_name: diffusers", "pipeline_tag: text-to-audio"]
    lines += [] if base_model is None else [f"base_model: {base_model}"]
    return "\n".join([*lines, "tags: [video-to-audio, foley]", "---"])


def _licence_words(base_model: str | None, licence: str | None) -> str:
    if base_model is not None:
        return (
            f"Fine-tuned from {base_model}, whose weights are under {licence}: these weights are under the same licence. "
            "What the clips of the training set permit comes on top."
        )
    named = "These weights carry no base model's licence." if licence is None else f"These weights are under {licence}."
    return f"{named} Trained from scratch: what the clips of the training set permit is what counts."
