"""All assets, their resources and how they run: the only place that builds `Definitions`."""

import os
import warnings

import dagster as dg

# Backfill policies are stable in behaviour and still marked beta; the warning would fill every command's output.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from drawaudio_model.thread_waiting import wait_briefly  # noqa: E402
from pipelines.assets import (  # noqa: E402
    audio_latents,
    backbones,
    captions,
    cavp_features,
    clip_list,
    clip_media,
    control_report,
    dataset_card,
    drawn_instructions,
    evaluation,
    loudness_curves,
    noun_phrases,
    object_masks,
    raw_clips,
    text_embeddings,
    train_model,
    training_shards,
)
from pipelines.profiles import data_root  # noqa: E402
from pipelines.resources import PROCESSES, DataRoot, Trainer  # noqa: E402
from pipelines.steps_at_once import step_executor  # noqa: E402

# Assets import torch when they compute; the processes that they start inherit it.
wait_briefly()

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(
        [
            clip_list,
            raw_clips,
            clip_media,
            captions,
            noun_phrases,
            backbones,
            object_masks,
            cavp_features,
            loudness_curves,
            audio_latents,
            text_embeddings,
            training_shards,
            drawn_instructions,
            dataset_card,
            train_model,
            evaluation,
            control_report,
        ]
    ),
    resources={
        "data_root": DataRoot(path=str(data_root())),
        "trainer": Trainer(processes=os.environ.get(PROCESSES) or "1"),
    },
    executor=step_executor(),
)
