"""The files, and the shapes of the weights, that a saved part's class and config ask for."""

import importlib
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from transformers import FeatureExtractionMixin, PreTrainedModel, PreTrainedTokenizerBase

_KINDS: dict[str, tuple[type, ...]] = {
    "weights": (ModelMixin, PreTrainedModel),
    "tokenizer": (PreTrainedTokenizerBase,),
    "scheduler": (SchedulerMixin,),
    "feature_extractor": (FeatureExtractionMixin,),
}


def kind_of(library: str, class_name: str) -> str | None:
    """The kind of a class of model_index.json: "weights", "tokenizer", "scheduler", "feature_extractor" or "other".

    None: this version does not know the class.
    """
    found = _find_class(library, class_name)
    if found is None:
        return None
    return next((kind for kind, bases in _KINDS.items() if issubclass(found, bases)), "other")


def expected_weights(part: Path, library: str, class_name: str) -> tuple[dict[str, tuple[int, ...]], set[str], str]:
    """Weight -> shape that a part's config asks for; the names that need not be stored; the prefix that names may have."""
    model = _without_weights(part, _find_class(library, class_name))
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    # Tied weights are stored once, under either name; transformers 4 lists those that may be left out.
    tied = getattr(model, "all_tied_weights_keys", None)
    if tied is None:
        tied = dict.fromkeys(getattr(model, "_tied_weights_keys", None) or ())
    return expected, set(tied) | set(tied.values()), getattr(model, "base_model_prefix", "")


def _find_class(library: str, class_name: str) -> type | None:
    """The class that model_index.json names, from the three packages that may appear there and no other."""
    if library.split(".")[0] in ("drawaudio_model", "diffusers", "transformers"):
        return getattr(importlib.import_module(library), class_name, None)
    # diffusers names its pipelines' own models by the pipeline's folder: "audioldm2".
    return getattr(getattr(diffusers.pipelines, library, None), class_name, None)


def _without_weights(part: Path, kind: Any) -> torch.nn.Module:
    """The part's model on torch's meta device: names and shapes without memory."""
    with torch.device("meta"):
        if issubclass(kind, ModelMixin):
            return kind.from_config(kind.load_config(part))
        settings = kind.config_class.from_pretrained(part)
        return kind(settings)
