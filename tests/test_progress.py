"""The reporter: its log file, its lines, and the way to Dagster through a real Pipes process."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from drawaudio_model import progress
from drawaudio_model.progress import Reporter


def read_log(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_log_holds_start_mean_of_metrics_note_and_finish(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log.jsonl"
    with Reporter("train model", total=4, log=log) as report:
        for loss in (1.0, 2.0, 3.0, 6.0):
            report.step(loss=loss)
        report.note("half way")
        report.finish({"steps": 4, "bad": float("nan"), "folder": tmp_path, "widths": [1, 2]})
    rows = read_log(log)
    assert [row["event"] for row in rows] == ["start", "note", "finish", "progress"]
    assert rows[0]["total"] == 4 and rows[1]["message"] == "half way"
    metadata = rows[2]["metadata"]
    assert metadata["steps"] == 4 and metadata["bad"] == "nan"
    assert metadata["folder"] == {"raw_value": str(tmp_path), "type": "path"}
    assert rows[3]["step"] == 4 and rows[3]["loss"] == 3.0


def test_log_is_appended_and_a_resumed_task_starts_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Reporter("a", total=5, log=log) as report:
        report.step(n=2)
    with Reporter("a", total=5, log=log) as report:
        report.skip(2)
        report.step(n=3, loss=1.0)
        assert report.done == 5
    rows = read_log(log)
    assert [(row["event"], row.get("step")) for row in rows] == [
        ("start", None),
        ("progress", 2),
        ("start", None),
        ("progress", 5),
    ]


def test_the_last_row_of_a_log_is_the_last_step_and_stands_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(log: Path) -> list[int]:
        with Reporter("a", total=3, log=log) as report:
            for _ in range(3):
                report.step()
        return [row["step"] for row in read_log(log) if row["event"] == "progress"]

    assert steps(tmp_path / "quick.jsonl") == [3]
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_RECORDS", 0.0)
    assert steps(tmp_path / "slow.jsonl") == [1, 2, 3]
    with Reporter("a", total=0, log=tmp_path / "empty.jsonl"):
        pass
    assert [row["event"] for row in read_log(tmp_path / "empty.jsonl")] == ["start"]


def test_an_error_is_logged_and_raised(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="disk full"), Reporter("a", None, tmp_path / "log.jsonl"):
        raise RuntimeError("disk full")
    assert read_log(tmp_path / "log.jsonl")[-1]["message"] == "RuntimeError: disk full"


def test_lines_reach_a_stderr_that_is_no_terminal(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Reporter("count sheep", total=3) as report:
        report.step(loss=0.5)
        report.note("one is black")
    error = capsys.readouterr().err
    assert "count sheep" in error and "1/3" in error and "loss=0.5" in error and "one is black" in error
    assert "\r" not in error


def test_an_inactive_reporter_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with Reporter("a", 3, tmp_path / "log.jsonl", active=False) as report:
        report.step(loss=1.0)
        report.note("quiet")
        report.finish({"a": 1})
    assert not (tmp_path / "log.jsonl").exists() and capsys.readouterr().err == ""


def test_a_picture_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MAX_PICTURE_BYTES", 10)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with Reporter("a", 1) as report, pytest.raises(ValueError, match="at most 10 fit"):
        report.picture("curve", tmp_path / "a.png")


def test_dagster_receives_lines_and_metadata_of_two_reporters(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "curve.png")
    script = tmp_path / "work.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from pathlib import Path
            from drawaudio_model import progress
            progress.SECONDS_BETWEEN_LINES = 0.0
            with progress.Reporter("warm up", 1) as report:
                report.step(loss=2.0)
            with progress.Reporter("train model", 2) as report:
                report.step(n=2, loss=0.25)
                report.picture("curve", Path(sys.argv[1]))
                report.finish({"final_loss": 0.25, "widths": [32, 64], "where": Path("model")})
            assert "dagster" not in sys.modules
            """
        )
    )

    @dg.asset
    def work(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
        command = [sys.executable, str(script), str(tmp_path / "curve.png")]
        return pipes.run(context=context, command=command).get_materialize_result()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([work], resources={"pipes": dg.PipesSubprocessClient()}, instance=instance)
        lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    metadata = result.asset_materializations_for_node("work")[0].metadata
    assert metadata["final_loss"].value == 0.25
    assert metadata["widths"].value == [32, 64]
    assert metadata["where"].value == "model"
    assert metadata["curve"].value.startswith("![curve](data:image/png;base64,")
    assert any("warm up" in line and "loss=2" in line for line in lines)
    assert any("train model" in line and "2/2" in line and "loss=0.25" in line for line in lines)
    assert not any("did not receive closed message" in line for line in lines)


def test_a_failed_process_tells_dagster_why(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        "from drawaudio_model.progress import Reporter\n"
        "with Reporter('train model', 2):\n"
        "    raise ValueError('no shards found')\n"
    )

    @dg.asset
    def work(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
        return pipes.run(context=context, command=[sys.executable, str(script)]).get_materialize_result()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [work], resources={"pipes": dg.PipesSubprocessClient()}, instance=instance, raise_on_error=False
        )
        lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert not result.success
    assert any("no shards found" in line for line in lines)


def test_import_loads_neither_dagster_nor_torch() -> None:
    code = (
        "import sys, drawaudio_model.progress as p; "
        "sys.exit(bool({'dagster', 'dagster_pipes', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
