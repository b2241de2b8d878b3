"""Every gate of the studio's server is attacked: who asks, from where, for what, and how much of it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from drawaudio_model.studio.guard import MOST_BODY_BYTES, MOST_UPLOAD_BYTES
from tests.studio_page import Running, studio, told, wait, write_clip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Running]:
    """A studio without a project."""
    with studio(home) as found:
        yield found


def test_the_page_itself_passes(running: Running) -> None:
    status, headers, content = running.ask("GET", "/")
    assert status == 200 and b"/page/app.js" in content and headers["content-type"].startswith("text/html")
    assert running.json("GET", "/api/project")["document"] is None


def test_the_address_that_is_printed_answers_whoever_is_quick(home: Path) -> None:
    command = [sys.executable, "-m", "drawaudio_model.cli", "studio", "--no-browser"]
    for _ in range(3):
        process = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, text=True)
        try:
            found = told(process)
            with socket.create_connection(("127.0.0.1", found.port), timeout=20) as wire:
                wire.sendall(f"GET / HTTP/1.0\r\nHost: 127.0.0.1:{found.port}\r\n\r\n".encode())
                assert wire.recv(100).startswith(b"HTTP/1.1 401 ")
        finally:
            process.terminate()
            process.wait(15)


BROWSER = """
import sys, time, urllib.request
with open("asked", "w") as file:
    file.write(str(urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(sys.argv[1], timeout=30).status))
time.sleep(60)
"""
"""A browser that does not return while its page is open, as one in the terminal does not."""


def test_the_browser_is_opened_and_the_server_does_not_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "browser.py").write_text(BROWSER)
    environment = {**os.environ, "BROWSER": f"{sys.executable} {tmp_path / 'browser.py'} %s"}
    command = [sys.executable, "-m", "drawaudio_model.cli", "studio"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait(lambda: (tmp_path / "asked").is_file() and (tmp_path / "asked").read_text() == "200", 30)
    finally:
        # The studio first: it would look for another browser in place of one that was killed.
        process.terminate()
        process.wait(15)
        os.killpg(process.pid, signal.SIGKILL)


def test_a_studio_that_is_ended_says_nothing_of_who_listened(home: Path) -> None:
    command = [sys.executable, "-m", "drawaudio_model.cli", "studio", "--no-browser"]
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = told(process)
    lines = [f"Host: 127.0.0.1:{found.port}", f"Cookie: drawaudio_{found.port}={found.token}"]
    with socket.create_connection(("127.0.0.1", found.port), timeout=20) as wire:
        wire.sendall("\r\n".join(["GET /api/events HTTP/1.1", *lines, "Sec-Fetch-Site: same-origin", "", ""]).encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 200 ")
        process.terminate()
        assert process.communicate(timeout=15)[1] == ""


def test_the_server_listens_on_this_machine_alone(running: Running) -> None:
    places = {row.laddr.ip for row in psutil.Process(running.process.pid).net_connections() if row.status == "LISTEN"}
    assert places == {"127.0.0.1"}


def test_the_token_in_the_address_becomes_a_cookie_that_no_script_and_no_other_page_has(running: Running) -> None:
    status, headers, _ = running.ask(
        "GET", f"/?token={running.token}", headers={"Cookie": None, "Sec-Fetch-Site": "none"}
    )
    assert (status, headers["location"]) == (303, "/")
    name, *rules = headers["set-cookie"].split("; ")
    assert name == f"drawaudio_{running.port}={running.token}" and len(running.token) >= 43
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} == {*rules}


@pytest.mark.parametrize("path", ["/", "/api/project", "/page/app.js", "/media/proxy.mp4", "/api/events"])
@pytest.mark.parametrize(
    "cookie", [None, "drawaudio_{port}=", "drawaudio_{port}=wrong", "drawaudio={token}", "a{{b=;=\\"]
)
def test_without_the_cookie_there_is_nothing(running: Running, path: str, cookie: str | None) -> None:
    sent = cookie and cookie.format(port=running.port, token=running.token)
    status, _, content = running.ask("GET", path, headers={"Cookie": sent})
    assert status == 401 and "address that it printed" in json.loads(content)["error"]


def test_a_wrong_token_is_refused_even_with_the_cookie(running: Running) -> None:
    assert running.ask("GET", "/?token=" + "x" * 43)[0] == 401
    assert running.ask("GET", "/?token=", headers={"Cookie": None})[0] == 401


def test_the_token_opens_nothing_but_the_first_page(running: Running) -> None:
    assert running.ask("GET", f"/api/project?token={running.token}", headers={"Cookie": None})[0] == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}", ""]
)
def test_a_name_of_the_web_that_points_here_is_refused(running: Running, host: str) -> None:
    """DNS rebinding: the browser believes that the page comes from that name, and sends it as Host."""
    host = host.format(port=running.port)
    status, _, content = running.ask("GET", "/api/project", headers={"Host": host, "Origin": f"http://{host}"})
    assert status in (400, 421), content
    assert running.ask("GET", f"/?token={running.token}", headers={"Host": host})[0] in (400, 421)


def test_localhost_is_this_machine(running: Running) -> None:
    host = f"localhost:{running.port}"
    assert running.ask("GET", "/api/project", headers={"Host": host, "Origin": f"http://{host}"})[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:{port}", ""]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS"])
def test_a_foreign_origin_is_refused(running: Running, origin: str, method: str) -> None:
    sent = {"Origin": origin.format(port=running.port)}
    status, headers, _ = running.ask(method, "/api/project", {}, headers=sent)
    assert status == 403 and "access-control-allow-origin" not in headers


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", None])
def test_what_the_page_does_not_ask_for_itself_is_refused(running: Running, site: str | None) -> None:
    """Another port of this machine is the same site and has the cookie: only the same origin passes."""
    assert running.ask("GET", "/api/project", headers={"Sec-Fetch-Site": site})[0] == 403
    assert running.ask("POST", "/api/exports", {}, headers={"Sec-Fetch-Site": site})[0] == 403
    assert running.ask("GET", "/page/app.js", headers={"Sec-Fetch-Site": site})[0] == 403
    assert running.ask("GET", "/", headers={"Sec-Fetch-Site": site})[0] == (200 if site in ("none", None) else 403)


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site"])
def test_a_header_that_is_there_twice_is_refused(running: Running, name: str) -> None:
    good = {
        "Host": f"127.0.0.1:{running.port}",
        "Origin": f"http://127.0.0.1:{running.port}",
        "Sec-Fetch-Site": "same-origin",
    }
    cookie = f"drawaudio_{running.port}={running.token}"
    lines = [f"{key}: {value}" for key, value in good.items()] + [f"{name}: evil.example", f"Cookie: {cookie}"]
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as wire:
        wire.sendall("\r\n".join(["GET /api/project HTTP/1.1", *lines, "", ""]).encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 400 ")


TRAVERSALS = (
    *(
        "/page/../server.py",
        "/page/..%2fserver.py",
        "/page/%2e%2e/server.py",
        "/page/..%5cserver.py",
        "/page//etc/passwd",
    ),
    *("/page/%2fetc%2fpasswd", "/media/../project.json", "/media/..%2fproject.json", "/media/project.json"),
    *("/api/takes/../wav", "/api/takes/..%2f..%2fproject/wav", "/api/takes/aaaa/..%2fjson", "/api/takes/%00/wav"),
)


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out(running: Running, path: str) -> None:
    status, _, content = running.ask("GET", path)
    assert status in (400, 404) and b"import" not in content and b"root:" not in content


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/api/project", "/api/nothing", "/page/..%2fx"])
def test_every_answer_forbids_what_comes_from_elsewhere(running: Running, path: str) -> None:
    _, headers, _ = running.ask("GET", path)
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert (
        "unsafe" not in headers["content-security-policy"]
        and "frame-ancestors 'none'" in headers["content-security-policy"]
    )
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_page_has_no_script_and_no_style_within_itself() -> None:
    page = (Path(__file__).parent.parent / "drawaudio_model" / "studio" / "page" / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=|https?://(?!www\.w3\.org)", page)


@pytest.mark.parametrize(
    ("path", "limit"), [("/api/mix", MOST_BODY_BYTES), ("/api/uploads?name=a.mp4", MOST_UPLOAD_BYTES)]
)
@pytest.mark.parametrize("stated", ["{more}", "-1", "1e3", "9" * 30])
def test_a_body_that_says_it_is_too_large_is_not_read(running: Running, path: str, limit: int, stated: str) -> None:
    method = "PUT" if "uploads" in path else "POST"
    status, _, _ = running.ask(method, path, None, headers={"Content-Length": stated.format(more=limit + 1)})
    assert status in (400, 413)


def test_a_body_without_a_length_ends_at_the_limit(running: Running) -> None:
    cookie = f"drawaudio_{running.port}={running.token}"
    lines = ["POST /api/mix HTTP/1.1", f"Host: 127.0.0.1:{running.port}", f"Cookie: {cookie}"]
    lines += ["Sec-Fetch-Site: same-origin", "Transfer-Encoding: chunked", "", ""]
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as wire:
        wire.sendall("\r\n".join(lines).encode())
        try:
            for _ in range(MOST_BODY_BYTES // 0x100000 + 2):
                wire.sendall(piece)
        except OSError:
            pass  # it may close before all of it has come
        assert wire.recv(100).startswith(b"HTTP/1.1 413 ")
    assert running.ask("GET", "/")[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"frame": NaN}', b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_body_that_is_no_document_is_a_sentence(running: Running, body: bytes) -> None:
    for path in ("/api/mix", "/api/mask", "/api/jobs"):
        status, _, content = running.ask("POST", path, body)
        assert status == 400 and json.loads(content)["error"]


def test_a_web_socket_is_refused(running: Running) -> None:
    sent = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert running.ask("GET", "/api/events", headers=sent | {"Sec-WebSocket-Version": "13", "Cookie": None})[0] == 401


@pytest.mark.parametrize("name", ["", "..", ".mp4", "clip", "%2f", "..%2f..%2fetc%2fcron"])
def test_an_upload_needs_a_name_with_a_suffix_and_leaves_nothing_without(
    running: Running, home: Path, name: str
) -> None:
    status, _, content = running.ask("PUT", f"/api/uploads?name={name}", b"x")
    assert status == 400 and "expected one such as clip.mp4" in json.loads(content)["error"]
    assert [*home.iterdir()] == []


def test_an_upload_that_breaks_off_leaves_nothing(running: Running, home: Path) -> None:
    cookie = f"drawaudio_{running.port}={running.token}"
    lines = [
        f"Host: 127.0.0.1:{running.port}",
        f"Cookie: {cookie}",
        "Sec-Fetch-Site: same-origin",
        "Content-Length: 999999",
    ]
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as wire:
        wire.sendall("\r\n".join(["PUT /api/uploads?name=a.mp4 HTTP/1.1", *lines, "", "half"]).encode())
    assert running.ask("GET", "/")[0] == 200
    from tests.studio_page import wait

    wait(lambda: [*home.iterdir()] == [], 10)


def test_an_uploaded_video_is_a_project_and_its_name_is_a_name(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "made.mp4")
    home = tmp_path / "home"
    home.mkdir()
    with studio(home) as running:
        status, _, content = running.ask("PUT", "/api/uploads?name=..%2F..%2Fmy%20clip.mp4", clip.read_bytes())
        assert status == 201
        assert json.loads(content)["folder"] == str(home / "my_clip.drawaudio")
        assert (home / "my_clip.drawaudio" / "media" / "my_clip.mp4").read_bytes() == clip.read_bytes()
        assert [path.name for path in home.iterdir()] == ["my_clip.drawaudio"]
        assert running.wait_for_media()["state"] == "ready"
        # Nor does a path lead out of a project that is open, or to what is not shown.
        for path in (*TRAVERSALS, "/media/media.json", "/media/..%2F..%2Fmedia%2Fmy_clip.mp4"):
            assert running.ask("GET", path)[0] in (400, 404), path
        # Another one needs another studio.
        assert running.ask("PUT", "/api/uploads?name=b.mp4", b"x")[0] == 400
