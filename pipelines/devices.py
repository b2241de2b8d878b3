"""Where frozen networks run, in which precision, and how many clips go through them at once."""

from contextlib import AbstractContextManager, nullcontext


def device() -> str:
    """ "cuda" where there is a GPU, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def clips_at_once(on_gpu: int) -> int:
    """Clips in one batch: `on_gpu` where there is a GPU; one on a CPU, where a batch gains nothing."""
    return on_gpu if device() == "cuda" else 1


def autocast(*, float16_is_enough: bool) -> AbstractContextManager:
    """Half precision on a GPU: bf16 where it has that, else fp16 for networks that do not overflow in it.

    Args:
        float16_is_enough: False for T5, whose hidden states pass fp16's range, and for autoencoders with `force_upcast`.
    """
    import torch

    if device() == "cpu":
        return nullcontext()
    if torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return torch.autocast("cuda", torch.float16) if float16_is_enough else nullcontext()
