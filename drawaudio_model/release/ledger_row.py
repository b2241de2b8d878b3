"""A row of a dataset's ledger (`training_shards/ledger/<shard>.parquet`): where one clip of its list ended."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LedgerRow:
    """One clip; the fields are the ledger's columns."""

    key: str
    source: str
    source_id: str
    status: str
    """kept or dropped."""
    stage: str
    """The asset that it reached last: training_shards where it was kept."""
    reason: str
    """Class of the fault; "" for a clip that was kept."""
    message: str
