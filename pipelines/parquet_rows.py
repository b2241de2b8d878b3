"""Ledgers and lists on the disk: rows as a parquet file."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from drawaudio_model.atomic_files import write_atomically


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], kinds: Mapping[str, str]) -> None:
    """Write the rows, the whole file or none of it.

    Args:
        path: of the parquet file.
        rows: column -> value each.
        kinds: column -> pyarrow's alias of its type, such as "string" or "int64"; these columns are written, in this order.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(rows)
    columns = {name: pa.array([row[name] for row in rows], pa.type_for_alias(kind)) for name, kind in kinds.items()}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())
