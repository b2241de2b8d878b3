"""Tables for people, in Markdown."""

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


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
