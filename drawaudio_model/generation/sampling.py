"""The guided noise of a sampling: the work that is done once for all steps, and the work of one step.

While sampling, text, video and curve stay the same. `prepare_windows` computes everything that depends on them alone: video
tokens, the attention's keys and values, the curve's share of the latent. `guided_step` does the rest in each step: it
evaluates the UNet on each branch and combines the predictions by Eq. (12).

Legend: B sets of conditions, C latent channels, F latent frames of a window, N of the whole sound, K latent mel bins.

Paper: Eq. (12); the interval is Kynkaanniemi et al. 2024 (arXiv 2404.07724).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin
from torch import Tensor

from drawaudio_model.denoiser import Conditions, Denoiser, PreparedInputs
from drawaudio_model.generation import windows
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


@dataclass(frozen=True, eq=False)
class Given:
    """A sound that a sampling begins with."""

    latents: Tensor
    """(C, N, K) of the sound, the same for all rows."""
    strength: float = 1.0
    """How much of the noise schedule is run: 1 begins with noise alone, 0 leaves the latents as they are."""
    kept: Tensor | None = None
    """(N,) the share of the steps during which each frame is put back as it was given: frames of 1 come out so, frames of 0
    are made anew, and what lies between is let go of on the way; or bool. None: all are made anew."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is {self.strength}, expected 0 (the given sound) to 1 (none of it)")

    def steps(self, count: int) -> int:
        """How many of a schedule's steps are run, the last ones."""
        return math.ceil(round(count * self.strength, 9))


def denoise(
    predict: Callable[[int, Tensor, Tensor], Tensor],
    noise: Tensor,
    *,
    trained: DDIMScheduler,
    solver: DPMSolverMultistepScheduler,
    first_frames: Sequence[int],
    window_frames: int,
    given: Given | None = None,
    on_step: Callable[[int, Tensor, Tensor], Tensor],
) -> Tensor:
    """(B, C, N, K) latents sampled from noise, or from a given sound's latents with noise in them.

    Frames that are kept are put back before each step, those of a share for as long as it says, with as much noise as the
    step expects and always the same (Lugmayr et al. 2022, without its jumps back: with the same noise throughout, every step
    sees a state that the solver itself could have come by). So what is sampled goes on from them.

    Args:
        predict: (window, latents (B, C, F, K), timestep) -> noise in them.
        noise: (B, C, N, K) standard normal.
        trained: the schedule of training.
        solver: with its timesteps.
        first_frames: of the windows.
        window_frames: F.
        given: the sound to begin with; None: begin with noise.
        on_step: called after each step with its number, timestep and the latents; returns those to go on with.
    """

    def at_level(timestep: Tensor) -> Tensor:
        """The given latents with the noise of a timestep."""
        assert given is not None
        return trained.add_noise(given.latents.to(noise).expand_as(noise), noise, timestep.reshape(1))

    latents, begin = noise * solver.init_noise_sigma, 0
    kept = None if given is None or given.kept is None else given.kept.to(noise)[:, None]  # (N, 1)
    if given is not None and given.strength < 1:
        begin = len(solver.timesteps) - given.steps(len(solver.timesteps))
        if begin == len(solver.timesteps):
            return given.latents.to(noise).expand_as(noise)
        solver.set_begin_index(begin)
        latents = at_level(solver.timesteps[begin])
    remaining = solver.timesteps[begin:]
    for step, timestep in enumerate(remaining):
        if kept is not None:
            latents = torch.where(kept > step / len(remaining), at_level(timestep), latents)

        def guided(number: int, part: Tensor, timestep: Tensor = timestep) -> Tensor:
            return predict(number, part, timestep)

        predicted = windows.blended(latents, first_frames, window_frames, guided)
        latents = on_step(step, timestep, solver.step(predicted, timestep, latents).prev_sample)
    return latents if kept is None or given is None else torch.where(kept >= 1, given.latents.to(noise), latents)


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
