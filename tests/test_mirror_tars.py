"""Members of tars that are whole, cut short, garbled or malicious: what can be read is, and nothing else happens."""

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources.mirror.tars import Found, GzipStream, Member, PlainStream, Stream, members

FILES = {f"video/{letter}.mp4": np.random.default_rng(ord(letter)).bytes(40_000 + ord(letter)) for letter in "abcde"}


def make_tar(
    files: dict[str, bytes], form: int = tarfile.USTAR_FORMAT, extra: list[tarfile.TarInfo] | None = None
) -> bytes:
    """A tar of files, behind entries without bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for header in extra or []:
            archive.addfile(header)
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def entry(name: str, kind: bytes, **more: object) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type = kind
    for field, value in more.items():
        setattr(header, field, value)
    return header


def read(content: bytes, folder: Path) -> tuple[list[tuple[Member, bytes]], Stream, Found]:
    """Every entry with its bytes."""
    path = folder / "part"
    path.write_bytes(content)
    found = Found()
    with path.open("rb") as file:
        stream: Stream = GzipStream(file) if content[:2] == b"\x1f\x8b" else PlainStream(file)
        return [(member, b"".join(member.pieces())) for member in members(stream, found)], stream, found


def whole(read_members: list[tuple[Member, bytes]]) -> dict[str, bytes]:
    return {
        member.name: content for member, content in read_members if len(content) == member.size and not member.refusal
    }


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read(pack, form, tmp_path):
    files = FILES | {f"{'x' * 90}/{'y' * 90}.mp4": b"long", "empty.mp4": b""}
    found, stream, counts = read(pack(make_tar(files, form)), tmp_path)
    assert whole(found) == files and not stream.fault and counts.lost_bytes == 0
    plain = make_tar(files, form)
    assert all(plain[member.offset : member.offset + member.size] == content for member, content in found)


def test_several_compressed_streams_and_tars_follow_one_another(tmp_path):
    first, second = make_tar({"a.mp4": b"first"}), make_tar({"b.mp4": b"second"})
    found, stream, _ = read(gzip.compress(first) + gzip.compress(second) + bytes(512), tmp_path)
    assert whole(found) == {"a.mp4": b"first", "b.mp4": b"second"} and not stream.fault


@pytest.mark.parametrize("keep", [0, 700, 41_000, 100_000, 130_000])
def test_a_tar_that_is_cut_short_gives_what_is_there(keep, tmp_path):
    found, _, _ = read(make_tar(FILES)[:keep], tmp_path)
    names = [name for number, name in enumerate(FILES) if (number + 1) * 41_472 - 500 <= keep]
    assert [*whole(found)] == names
    packed, stream, _ = read(gzip.compress(make_tar(FILES))[:keep] if keep else b"\x1f\x8b", tmp_path)
    assert whole(packed).items() <= FILES.items() and "ends before" in stream.fault
    assert len(whole(packed)) >= len(names) - 1


def test_a_fault_in_a_member_costs_that_one_and_in_a_header_the_one_behind_it(tmp_path):
    content = bytearray(make_tar(FILES))
    places = {member.name: member.offset for member, _ in read(bytes(content), tmp_path)[0]}
    content[places["video/b.mp4"] + 5000] ^= 0xFF
    content[places["video/d.mp4"] - 512 : places["video/d.mp4"] - 412] = bytes(100)
    found, _, counts = read(bytes(content), tmp_path)
    good = whole(found)
    assert [*good] == ["video/a.mp4", "video/b.mp4", "video/c.mp4", "video/e.mp4"]
    assert good["video/b.mp4"] != FILES["video/b.mp4"] and counts.lost_bytes > 40_000


def test_behind_a_fault_in_compressed_data_nothing_is_read_and_before_it_everything(tmp_path):
    files = {name: content.hex().encode() for name, content in FILES.items()}
    packed = bytearray(gzip.compress(make_tar(files)))
    middle = len(packed) // 2
    packed[middle : middle + 3000] = bytes(3000)
    found, stream, _ = read(bytes(packed), tmp_path)
    assert "cannot be read any further" in stream.fault
    good = [name for name, content in whole(found).items() if content == files[name]]
    assert good == ["video/a.mp4", "video/b.mp4"] and len(found) < len(files)
    damaged = found[2][1]  # zlib notices a fault a little behind it
    assert found[2][0].name == "video/c.mp4" and files["video/c.mp4"][:20_000] == damaged[:20_000]


def test_a_fault_in_data_that_are_stored_costs_one_member_and_the_checksum_says_so(tmp_path):
    packed = bytearray(gzip.compress(make_tar(FILES), 0))
    packed[len(packed) // 2] ^= 0xFF
    found, stream, _ = read(bytes(packed), tmp_path)
    good = {name for name, content in whole(found).items() if content == FILES[name]}
    assert len(good) == len(FILES) - 1 and "incorrect data check" in stream.fault


def test_links_devices_and_sparse_files_are_named_and_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("nobody's business")
    extra = [
        entry("soft.mp4", tarfile.SYMTYPE, linkname=str(secret)),
        entry("hard.mp4", tarfile.LNKTYPE, linkname="../secret"),
        entry("device.mp4", tarfile.CHRTYPE, devmajor=1, devminor=5),
        entry("pipe.mp4", tarfile.FIFOTYPE),
        entry("folder", tarfile.DIRTYPE),
        entry(
            "sparse.mp4", tarfile.REGTYPE, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 32)}
        ),
    ]
    found, _, _ = read(make_tar({"../../up.mp4": b"up", "/root.mp4": b"root"}, tarfile.PAX_FORMAT, extra), tmp_path)
    assert [(member.name, member.refusal) for member, _ in found if member.refusal] == [
        ("soft.mp4", "a link"),
        ("hard.mp4", "a hard link"),
        ("device.mp4", "a device"),
        ("pipe.mp4", "a pipe"),
        ("sparse.mp4", "a sparse file"),
    ]
    assert whole(found) == {"../../up.mp4": b"up", "/root.mp4": b"root"}
    assert {path.name for path in tmp_path.rglob("*")} == {"secret", "part"}


def test_an_old_sparse_file_of_four_gigabytes_is_passed_by_with_its_map(tmp_path):
    block = bytearray(entry("sparse.mp4", tarfile.GNUTYPE_SPARSE, size=1024).tobuf(tarfile.GNU_FORMAT))
    block[482] = 1
    block[483:495] = tarfile.itn(1 << 32, 12, tarfile.GNU_FORMAT)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    content = bytes(block) + bytes(504) + b"\1" + bytes(7) + b"\2" * 512 + b"\3" * 1024 + make_tar(FILES)
    content = content.replace(b"\2" * 512, bytes(512))
    found, _, counts = read(content, tmp_path)
    assert (found[0][0].name, found[0][0].refusal) == ("sparse.mp4", "a sparse file")
    assert whole(found) == FILES and counts.lost_bytes == 0


@pytest.mark.parametrize("size", [1 << 32, 1 << 40, -1])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_a_size_that_cannot_be_takes_neither_memory_nor_the_members_behind_it(size, pack, tmp_path):
    false = entry("false.mp4", tarfile.REGTYPE, size=size).tobuf(tarfile.GNU_FORMAT)
    content = pack(make_tar({"a.mp4": b"a"})[:1024] + false + make_tar(FILES))
    tracemalloc.start()
    found, _, _ = read(content, tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()
    good = whole(found)
    assert "a.mp4" in good and "false.mp4" not in good
    if pack is bytes or size < 0:  # How much compressed data hold is not known before.
        assert good == {"a.mp4": b"a"} | FILES


def test_a_name_or_a_list_of_names_without_end_is_not_held(tmp_path):
    long = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1 << 20).tobuf(tarfile.GNU_FORMAT)
    pax = entry("x", tarfile.XHDTYPE, size=512).tobuf(tarfile.USTAR_FORMAT) + b"99999 path=".ljust(512, b"x")
    found, _, _ = read(long + b"n" * (1 << 20) + make_tar({"a.mp4": b"a"})[:1024] + pax + make_tar(FILES), tmp_path)
    assert whole(found) == {"a.mp4": b"a"} | FILES


def test_what_is_no_tar_holds_nothing(tmp_path):
    found, _, counts = read(b"<html>not found</html>" * 200, tmp_path)
    assert not found and counts.lost_bytes == 4096
