"""The paper's Tables 1 to 3 with our figures beside them; a cell in which nothing was measured stays empty.

Paper: Draw an Audio, Tables 1 (AudioCaps), 2 (VGGSound-Caption) and 3 (trainable parameters).
"""

import html
from collections.abc import Mapping
from typing import Any

COLUMNS = {"fd": "FD", "is": "IS", "kl": "KL", "fad": "FAD", "cs_av": "CS-AV"}
"""Of published_metrics, in the order of the tables."""
LOWER_IS_BETTER = frozenset({"fd", "kl", "fad"})
PAPER = {
    "audiocaps": {
        "SpecVQGAN": (44.5, 4.52, 3.50, 5.34, 6.60),
        "AudioLDM2": (51.8, 6.54, 1.67, 1.96, 8.58),
        "Im2Wav": (35.3, 5.76, 2.58, 6.87, 8.54),
        "Seeing and Hearing": (44.6, 4.40, 2.80, 8.13, 6.11),
        "Diff-Foley": (40.8, 9.14, 3.28, 7.15, 7.85),
        "Draw an Audio, 82 M": (24.2, 9.33, 1.31, 3.26, 8.92),
        "Draw an Audio, 326 M": (23.8, 9.74, 1.34, 3.42, 8.94),
        "Draw an Audio-Full": (23.7, 9.52, 1.30, 3.89, 9.24),
    },
    "vggsound_caption": {
        "SpecVQGAN": (36.9, 4.73, 3.43, 5.01, 6.76),
        "AudioLDM2": (29.2, 8.56, 3.14, 2.88, 7.54),
        "Im2Wav": (27.4, 5.96, 2.42, 6.09, 8.86),
        "Seeing and Hearing": (35.5, 4.71, 2.86, 6.13, 6.08),
        "Diff-Foley": (31.7, 8.89, 3.26, 6.59, 7.63),
        "Draw an Audio, 82 M": (27.5, 9.61, 2.60, 3.24, 9.73),
        "Draw an Audio, 326 M": (26.2, 11.1, 2.53, 3.34, 9.73),
        "Draw an Audio-Full": (25.3, 9.98, 2.46, 3.33, 9.80),
    },
}
"""Test set -> system -> the five metrics as printed."""
OURS = "ours"


def beside_the_paper(published: Mapping[str, Mapping[str, Any]], dataset: str | None) -> dict[str, dict[str, Any]]:
    """Test set -> system -> metric -> value; our row has None where nothing was measured.

    Args:
        published: what `published_metrics` gave for our sounds.
        dataset: the test set they were made of; None: neither of the paper's, so all our cells are empty.
    """
    tables: dict[str, dict[str, Any]] = {}
    for name, systems in PAPER.items():
        rows = {system: dict(zip(COLUMNS, values, strict=True)) for system, values in systems.items()}
        mine = {metric: published.get(metric, {}).get("value") if name == dataset else None for metric in COLUMNS}
        tables[name] = rows | {OURS: mine}
    return tables


def table_html(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """One table over both test sets, the paper's rows and ours."""
    head = "".join(
        f"<th>{html.escape(label)} {'&darr;' if metric in LOWER_IS_BETTER else '&uarr;'}</th>"
        for metric, label in COLUMNS.items()
    )
    over = "".join(f'<th colspan="{len(COLUMNS)}">{html.escape(name)}</th>' for name in tables)
    lines = []
    for system in next(iter(tables.values())):
        cells = "".join(
            f"<td>{'' if tables[name][system][metric] is None else format(tables[name][system][metric], '.3g')}</td>"
            for name in tables
            for metric in COLUMNS
        )
        lines.append(f"<tr><th>{html.escape(system)}</th>{cells}</tr>")
    return (
        f"<table><thead><tr><th></th>{over}</tr><tr><th></th>{head * len(tables)}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
