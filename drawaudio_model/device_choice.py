"""The device that a command computes on."""

import torch


def named_device(name: str | None) -> torch.device:
    """The device of `--device`; None is a GPU where there is one, else the CPU.

    Raises:
        ValueError: when there is no such device here.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used here ({str(error).splitlines()[0]}); try cpu") from error
    return torch.device(device)
