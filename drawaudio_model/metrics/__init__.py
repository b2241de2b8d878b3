"""Metrics of how well a sound follows its instructions and how real it is; one metric a file.

The Frechet distance, the inception score, the KL divergence and the CLIP score take what an extractor gave (features or
class posteriors), so their value means something only together with the extractor's name. The control metrics take
curves and waveforms.
"""

from drawaudio_model.metrics.bootstrap import Interval, bootstrap_interval, bootstrap_statistic, mean_interval
from drawaudio_model.metrics.clip_score import clip_score
from drawaudio_model.metrics.envelope_l1 import envelope_l1
from drawaudio_model.metrics.frechet_distance import frechet_distance
from drawaudio_model.metrics.inception_score import InceptionScore, inception_score
from drawaudio_model.metrics.kl_divergence import kl_divergence
from drawaudio_model.metrics.lag import lag_seconds
from drawaudio_model.metrics.level_error_db import level_error_db
from drawaudio_model.metrics.loudness_correlation import LoudnessCorrelation, loudness_correlation
from drawaudio_model.metrics.loudness_error_db import loudness_error_db
from drawaudio_model.metrics.onset_f1 import OnsetScore, match_onsets, onset_f1, onset_times
from drawaudio_model.metrics.silence_obedience import silence_db

__all__ = [
    "InceptionScore",
    "Interval",
    "LoudnessCorrelation",
    "OnsetScore",
    "bootstrap_interval",
    "bootstrap_statistic",
    "clip_score",
    "envelope_l1",
    "frechet_distance",
    "inception_score",
    "kl_divergence",
    "lag_seconds",
    "level_error_db",
    "loudness_correlation",
    "loudness_error_db",
    "match_onsets",
    "mean_interval",
    "onset_f1",
    "onset_times",
    "silence_db",
]
