"""Progress of a long task: a bar on stderr, JSON lines in a file and, when Dagster started the process, its log.

The commands know nothing of Dagster. When the environment variable DAGSTER_PIPES_CONTEXT is set, `dagster_pipes` (a
small package without Dagster) carries log lines and the result's metadata to the asset that started the process.
"""

import atexit
import base64
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from tqdm import tqdm

if TYPE_CHECKING:
    from dagster_pipes import PipesContext

SECONDS_BETWEEN_LINES = 10.0
"""Time between two lines on a stderr that is no terminal, and between two log lines in Dagster."""
SECONDS_BETWEEN_RECORDS = 1.0
"""Time between two progress lines in the JSON-lines file."""
MAX_PICTURE_BYTES = 2_000_000
"""Pictures travel inside the metadata, which Dagster keeps in its event log for ever."""


class Reporter:
    """Context manager that shows how far a task is and what it measured.

    Several may live in one process, one after another or nested; one of them, the last, calls `finish`.

    Args:
        task: what is being done, a few words: "train model".
        total: number of steps, or None when unknown.
        log: JSON-lines file to append to; its folder is made. None: no file.
        active: False makes every method do nothing: all but the first of several processes.

    Example:
        with Reporter("train model", total=1000, log=folder / "log.jsonl") as report:
            for batch in batches:
                report.step(loss=train_step(batch))
            report.picture("loss", folder / "loss.png")
            report.finish({"steps": 1000})
    """

    def __init__(self, task: str, total: int | None, log: Path | None = None, *, active: bool = True) -> None:
        self.task = task
        self.total = total
        self.active = active
        self.done = 0
        self._initial = self._recorded = 0
        self._log_path = log
        self._log: TextIO | None = None
        self._bar: tqdm | None = None
        self._pipes: PipesContext | None = None
        self._metadata: dict[str, Any] = {}
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._latest: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._start = self._line_time = self._record_time = time.monotonic()
        if not self.active:
            return self
        if self._log_path is not None:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            self._log = self._log_path.open("a", encoding="utf-8")
        self._pipes = _open_pipes()
        if sys.stderr.isatty() and not os.environ.get("TQDM_DISABLE"):
            self._bar = tqdm(total=self.total, desc=self.task, dynamic_ncols=True, mininterval=0.2, delay=2)
        self._record("start", total=self.total)
        return self

    def skip(self, n: int) -> None:
        """Counts `n` steps that an earlier process did; they do not enter the speed."""
        self.done += n
        self._initial += n
        if self._bar is not None:
            self._bar.initial = self._initial
            self._bar.n = self.done
            self._bar.refresh()

    def step(self, n: int = 1, **metrics: float) -> None:
        """Counts `n` more steps; `metrics` (loss=0.3) are shown, and logged as their mean since the last log line."""
        if not self.active:
            return
        self.done += n
        self._latest.update({name: float(value) for name, value in metrics.items()})
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix(self._latest, refresh=False)
            self._bar.update(n)
        if now - self._record_time >= SECONDS_BETWEEN_RECORDS:
            self._record_progress(now)
        if now - self._line_time >= SECONDS_BETWEEN_LINES:
            self._line_time = now
            self._show_line(self._meter())

    def note(self, message: str) -> None:
        """Writes one sentence to the bar's terminal, to the log file and to Dagster."""
        if not self.active:
            return
        self._record("note", message=message)
        if self._bar is not None:
            self._bar.write(f"{self.task}: {message}", file=sys.stderr)
        self._show_line(f"{self.task}: {message}")

    def metadata(self, values: Mapping[str, Any]) -> None:
        """Adds to what `finish` reports: numbers, text, paths, lists and dicts.

        A dict {"raw_value": ..., "type": "md"} is handed to Dagster as it is (other types: "url", "table", ...).
        """
        self._metadata.update({name: _metadata_value(value) for name, value in values.items()})

    def picture(self, name: str, path: Path) -> None:
        """Adds a PNG or JPEG file that Dagster's page shows inline, and its path.

        Raises:
            ValueError: when the file is larger than MAX_PICTURE_BYTES.
        """
        if not self.active:
            return
        data = path.read_bytes()
        if len(data) > MAX_PICTURE_BYTES:
            raise ValueError(f"{path} has {len(data)} bytes, at most {MAX_PICTURE_BYTES} fit; save it smaller")
        kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        self._metadata[name] = {"raw_value": f"![{name}]({url})", "type": "md"}
        self._metadata[f"{name}_path"] = {"raw_value": str(path), "type": "path"}

    def finish(self, metadata: Mapping[str, Any] | None = None) -> None:
        """Says that the asset of this process exists now, with all metadata. Called once in a process, at its end."""
        if not self.active:
            return
        self.metadata(metadata or {})
        shown = {name: value for name, value in self._metadata.items() if not _is_picture(value)}
        self._record("finish", step=self.done, metadata=shown)
        if self._pipes is not None and self._pipes.is_asset_step:
            self._pipes.report_asset_materialization(metadata=self._metadata)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.active:
            return
        if (
            self._counts or self.done != self._recorded
        ):  # The log ends at the last step, which the clock may have passed over.
            self._record_progress(time.monotonic())
        if self._bar is not None:
            self._bar.close()
        elif time.monotonic() - self._start >= SECONDS_BETWEEN_LINES:
            self._show_line(self._meter())
        if error is not None:
            self._record("error", step=self.done, message=f"{type(error).__name__}: {error}")
            if self._pipes is not None and not self._pipes.is_closed:
                self._pipes.log.error(f"{self.task}: {type(error).__name__}: {error}")
                self._pipes.__exit__(kind, error, trace)
        if self._log is not None:
            self._log.close()

    def _meter(self) -> str:
        metrics = ", ".join(f"{name}={value:.4g}" for name, value in self._latest.items())
        return tqdm.format_meter(
            self.done,
            self.total,
            time.monotonic() - self._start,
            prefix=self.task,
            initial=self._initial,
            postfix=metrics,
            ascii=True,
            ncols=100,
        )

    def _show_line(self, text: str) -> None:
        """One line on a stderr that is no terminal; Dagster's log shows up there too, so never both."""
        if self._pipes is not None and not self._pipes.is_closed:
            self._pipes.log.info(text)
        elif self._bar is None:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def _record_progress(self, now: float) -> None:
        self._record_time, self._recorded = now, self.done
        means = {name: self._sums[name] / self._counts[name] for name in self._sums}
        self._sums.clear()
        self._counts.clear()
        self._record("progress", step=self.done, **means)

    def _record(self, event: str, **values: Any) -> None:
        if self._log is not None:
            seconds = round(time.monotonic() - self._start, 3)
            row = {"event": event, "task": self.task, "seconds": seconds} | values
            self._log.write(json.dumps(row) + "\n")
            self._log.flush()


def _open_pipes() -> "PipesContext | None":
    """The process's Pipes connection; it stays open for later reporters and is closed when the process ends."""
    if not os.environ.get("DAGSTER_PIPES_CONTEXT"):
        return None
    from dagster_pipes import PipesContext, open_dagster_pipes

    first = not PipesContext.is_initialized()
    context = open_dagster_pipes()
    if first:
        atexit.register(context.close)
    return None if context.is_closed else context


def _metadata_value(value: Any) -> Any:
    """The form in which Pipes carries a value; infinite and undefined numbers become text, JSON has no such numbers."""
    if isinstance(value, dict) and set(value) == {"raw_value", "type"}:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Path):
        return {"raw_value": str(value), "type": "path"}
    if isinstance(value, Mapping | list | tuple):
        return {"raw_value": dict(value) if isinstance(value, Mapping) else list(value), "type": "json"}
    return value


def _is_picture(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("raw_value", "")).startswith("![")
