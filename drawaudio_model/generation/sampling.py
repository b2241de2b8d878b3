"""The guided noise of a sampling: the work that is done once for all steps, and the work of one step.

While sampling, text, video and curve stay the same. `prepare_windows` computes everything that depends on them alone: video
tokens, the attention's keys and values, the curve's share of the latent. `guided_step` does the rest in each step: it
evaluates the UNet on each branch and combines the predictions by Eq. (12).

Legend: B sets of conditions, C latent channels, F latent frames of a window, N of the whole sound, K latent mel bins.

Paper: Eq. (12); the interval is Kynkaanniemi et al. 2024 (arXiv 2404.07724).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin
from torch import Tensor

from drawaudio_model.denoiser import Conditions, Denoiser, PreparedInputs
from drawaudio_model.guidance import BRANCHES, Guidance, guided_noise
from drawaudio_model.layers.cross_attention import FoldedSets

FOLDED_WINDOWS = 8
"""With more windows the video's tokens are not folded, for they would take more memory than the frames."""
MEMORY_OF_A_ROW = 2**29
"""Bytes, rounded up, that one row of the published UNet takes in a forward pass of 8 s; see `room_for_all_branches`."""


@dataclass(frozen=True, eq=False)
class BranchGroup:
    """Branches that one forward pass evaluates, and the UNet's inputs on them."""

    names: tuple[str, ...]
    inputs: PreparedInputs


@dataclass(frozen=True, eq=False)
class PreparedWindow:
    """The inputs that all steps of one window of B sets of conditions share."""

    groups: tuple[BranchGroup, ...]
    """All branches with a weight."""
    fullest: BranchGroup
    """The branch with the most conditions, which is evaluated alone outside the guidance interval."""
    guidance: Guidance


def prepare_windows(
    denoiser: Denoiser,
    conditions: Conditions,
    *,
    starts: Sequence[int],
    guidance: Guidance,
    branches_together: bool | None = None,
) -> list[PreparedWindow]:
    """Do the work that all steps share, for each 8 s window of a sound.

    Args:
        denoiser: reads the conditions.
        conditions: of the whole sound.
        starts: of the windows, in seconds.
        guidance: weights and interval.
        branches_together: all branches of one latent in one forward pass (faster), or one after another (a third of the
            memory); None: by what memory is free.
    """
    if not _any(denoiser.visible(conditions).loudness):
        # Without a signal the branches with and without it are the same.
        guidance = replace(guidance, loudness=0.0)
    if branches_together is None:
        # Branches without the signal are evaluated apart.
        rows = len(conditions.loudness) * sum(bool(BRANCHES[name].loudness) for name in guidance.branches)
        branches_together = room_for_all_branches(conditions.loudness.device, rows)
    groups = _groups(guidance.branches, denoiser.loudness_branches, branches_together)
    fullest = [name for name in guidance.branches if BRANCHES[name].loudness][-1]
    folded: FoldedSets = {}
    windows = []
    for start in starts:
        branch_inputs = denoiser.inputs(conditions.window(start), [BRANCHES[name] for name in guidance.branches])
        inputs = dict(zip(guidance.branches, branch_inputs, strict=True))
        prepared = [
            BranchGroup(
                names,
                denoiser.prepare(
                    [inputs[name] for name in names],
                    one_latent=denoiser.loudness_branches == "all",
                    folded=folded,
                    folds_video=len(starts) <= FOLDED_WINDOWS,
                ),
            )
            for names in [*groups, (fullest,)]
        ]
        windows.append(PreparedWindow(tuple(prepared[:-1]), prepared[-1], guidance))
    return windows


def guided_step(denoiser: Denoiser, window: PreparedWindow, latents: Tensor, timestep: Tensor, level: float) -> Tensor:
    """(B, C, F, K) guided noise, Eq. (12), in a window's latents (B, C, F, K), in the latents' type: the work of one step.

    Args:
        denoiser: as in `prepare_windows`.
        window: prepared by `prepare_windows`.
        latents: noisy latents.
        timestep: diffusion step of training.
        level: the step's place in the noise schedule, 0 to 1.
    """
    low, high = window.guidance.interval
    if not low <= level <= high:
        return denoiser.predict(latents, timestep, window.fullest.inputs)[0]
    predictions: dict[str, Tensor] = {}
    for group in window.groups:
        predictions |= zip(group.names, denoiser.predict(latents, timestep, group.inputs), strict=True)
    return guided_noise(predictions, window.guidance)


def _groups(branches: tuple[str, ...], loudness_branches: str, together: bool) -> list[tuple[str, ...]]:
    """The branches of each forward pass."""
    if not together:
        return [(name,) for name in branches]
    if loudness_branches != "all":
        return [branches]
    # Branches with the signal share one latent, which the UNet reads once. Those without it have another latent, and in the
    # same pass they would undo that.
    alike = [tuple(name for name in branches if BRANCHES[name].loudness == signal) for signal in (True, False)]
    return [names for names in alike if names]


def _any(visible: bool | Tensor) -> bool:
    return visible if isinstance(visible, bool) else bool(visible.any())


def room_for_all_branches(device: torch.device, rows: int) -> bool:
    """Whether `rows` rows of the UNet fit into a GPU's free memory together; True on a CPU."""
    if device.type != "cuda":
        return True
    return torch.cuda.mem_get_info(device)[0] > rows * MEMORY_OF_A_ROW


def sampling_solver(trained: SchedulerMixin, steps: int, device: torch.device) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ on the schedule of training.

    Every setting is passed on explicitly. diffusers leaves out those that the DDIM scheduler has by default, so a pipeline
    would sample differently before and after it is saved.
    """
    settings = {name: value for name, value in trained.config.items() if not name.startswith("_")}
    solver = DPMSolverMultistepScheduler.from_config(settings)
    solver.set_timesteps(steps, device=device)
    return solver


def starting_noise(seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """(B, C, N, K) standard normal noise, one seed a row; made on the CPU, so that it does not depend on the device."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(device)
