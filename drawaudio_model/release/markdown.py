"""Tables for people, in Markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; columns in order of first appearance, numbers to four digits, missing values empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        return "(nothing)"
    numeric = {name for name in columns if all(isinstance(row.get(name, 0), int | float) for row in rows)}
    rule = ["---:" if name in numeric else "---" for name in columns]
    body = [[_cell(row.get(name, "")) for name in columns] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [[_cell(name) for name in columns], rule, *body])


def escaped(text: str) -> str:
    """A text of somebody's as Markdown shows it word for word: no link, picture, emphasis, code, heading or HTML comes of it."""
    text = " ".join(text.split())
    text = re.sub(r"[\\`*\[\]<>|&~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)
    # Addresses become links without any sign around them.
    return re.sub(r"(?i)(?<=:)//|(?<=www)\.", lambda found: "".join(f"\\{letter}" for letter in found[0]), text)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return escaped(str(value))
