"""Lists and ledgers on the disk: a parquet file of rows, each a dataclass whose fields are the columns."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from drawaudio_model.atomic_files import write_atomically

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")

_COLUMN_TYPES: dict[object, str] = {str: "string", str | None: "string", int: "int64", float: "float64"}
"""Type of a field -> pyarrow's alias of its column's."""


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write the rows, the whole file or none of it.

    Args:
        path: of the parquet file.
        kind: the rows' dataclass; its fields, of type str, str | None, int or float, are the columns in their order.
        rows: none or more.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(rows)
    columns = {
        field.name: pa.array([getattr(row, field.name) for row in rows], pa.type_for_alias(_COLUMN_TYPES[field.type]))
        for field in fields(kind)
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def read_rows(path: Path, kind: type[Row], filters: Sequence[tuple[str, str, Any]] | None = None) -> list[Row]:
    """The rows of a file; columns that `kind` has no field for are left out.

    Args:
        path: of the parquet file.
        kind: the rows' dataclass.
        filters: pyarrow's: (column, operator, value), all of which must hold.
    """
    import pyarrow.parquet as pq

    columns = [field.name for field in fields(kind)]
    # By column, as tuples: a dict for each of 200,000 rows would take twice as long.
    found = pq.read_table(path, columns=columns, filters=filters)
    return [kind(*values) for values in zip(*(found[name].to_pylist() for name in columns), strict=True)]
