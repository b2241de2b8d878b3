"""`make dev` with the instance's settings, opened in a real browser."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; Debian: apt-get install chromium"),
]


def asset_names() -> set[str]:
    from pipelines import defs

    return {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a `make dev` of its own listens, with our dagster.yaml and the tiny profile."""
    home = tmp_path_factory.mktemp("dagster_home")
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = {"DAGSTER_HOME": str(home), "DRAWAUDIO_PROFILE": "tiny", "DRAWAUDIO_DATA": str(home / "data")}
    # Only what a shell has: nothing that other tests or libraries left in this process's environment.
    shell = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    # What installs the environment is left out: it is the one that runs this test.
    binaries = f"BIN={Path(sys.executable).parent}"
    command = ["make", binaries, "-o", ".venv/.installed", "dev", f"DEV_ARGS=-h 127.0.0.1 -p {port}"]
    log = home / "dev.log"
    # Dagster gives its code server three minutes; on a machine with all cores taken its first start may not make that.
    for seconds in (75, 180):
        with log.open("wb") as output:
            server = subprocess.Popen(
                command,
                cwd=ROOT,
                env=shell | settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            if is_up(f"http://127.0.0.1:{port}/server_info", server, seconds):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            stop(server)
    raise AssertionError(f"make dev is not up:\n{log.read_text()[-3000:]}")


def is_up(url: str, server: subprocess.Popen, seconds: float) -> bool:
    """Whether the page answers within that time, while its process lives."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            time.sleep(0.3)
    return False


def stop(server: subprocess.Popen) -> None:
    """End the group of processes that the test started as Ctrl-C does; after twenty seconds, kill it."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def test_the_page_lists_and_links_our_assets_and_nothing_covers_it(address: str) -> None:
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    hosts: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 2400})
        page.set_default_timeout(60_000)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if "://" in request.url else None)

        page.goto(f"{address}/assets")
        for name in sorted(asset_names()):  # the list grows while its rows are drawn
            page.locator(f"a[href='/assets/{name}']").first.wait_for()
        assert page.locator("[role=dialog], .bp5-dialog, .bp4-dialog").count() == 0

        page.goto(f"{address}/assets/train_model?view=lineage&lineageScope=upstream&lineageDepth=12")
        page.get_by_text("clip_list").first.wait_for()
        graph = page.inner_text("body")
        assert {name for name in asset_names() if name in graph} >= asset_names() - {
            "dataset_card",
            "evaluation_report",
            "control_report",
        }
        assert "Join the Dagster community" not in graph
        browser.close()
    assert hosts == {address.removeprefix("http://")}
    assert errors == []
