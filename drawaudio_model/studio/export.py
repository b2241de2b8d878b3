"""The mix that the page plays, and what is exported: the same function makes both, so one hears what one gets.

An export renders again with `drawaudio mix`: its tracks.json names the pictures of the masks, the tables of the curves and
the seeds with which the takes were made, not what was drawn since then.

Run as a program, with a project and a model, it exports the document as it was saved last, and prints a line of JSON: the
server loads no torch for it.
"""

import contextlib
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from drawaudio_model.atomic_files import file_sha256, replaced_folder
from drawaudio_model.clip_format import MEL_MAX_HZ, SAMPLE_RATE
from drawaudio_model.commands.delivery import Delivery, write_sound
from drawaudio_model.muxing import interchange
from drawaudio_model.muxing.timecode import drops, exact_rate, parse_timecode
from drawaudio_model.one_sentence import one_sentence
from drawaudio_model.studio.document import Document, Take, Track

if TYPE_CHECKING:
    import numpy as np

    from drawaudio_model.levels.mixdown import Mix
    from drawaudio_model.muxing.timecode import Timecode
    from drawaudio_model.studio.project import Project

DEFAULT = Delivery(sample_rate=48_000, bits=24)
"""Of mix and stems, where nobody says: what a session of film sound has."""


class HeardTrack(NamedTuple):
    """A track that is heard."""

    number: int
    """Its place among all tracks, from 1."""
    track: Track
    take: Take


def heard_tracks(project: "Project", document: Document) -> list[HeardTrack]:
    """The tracks with a take that are heard: those of the solos where there are any, else all that are not mute."""
    tracks = list(enumerate(document["tracks"], start=1))
    solos = any(track["solo"] for _, track in tracks)
    return [
        HeardTrack(number, track, project.take(track["take"]))
        for number, track in tracks
        if track["take"] is not None and (track["solo"] if solos else not track["mute"])
    ]


def mixed(project: "Project", heard: Sequence[HeardTrack]) -> "Mix":
    """The mix of the tracks that are heard, as `drawaudio mix` makes it.

    Raises:
        ValueError: when nothing is heard.
    """
    from drawaudio_model.levels.mixdown import mix

    if not heard:
        raise ValueError("no track is heard; generate a take, or let a track sound that is mute")
    stems = [_stem(project, item) for item in heard]
    return mix(stems, [item.track["gain_db"] for item in heard], [item.track["pan"] for item in heard])


def _stem(project: "Project", item: HeardTrack) -> "np.ndarray":
    import soundfile

    return soundfile.read(project.take_file(item.take["id"], ".wav"), dtype="float32")[0]


def wav_of(waveform: "np.ndarray") -> bytes:
    """A sound (n,) or (n, 2) as .wav of floats: what is played is not rounded."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def export(project: "Project", document: Document, model: Path, delivery: Delivery = DEFAULT) -> Path:
    """Writes an export into the project; returns its folder.

    It holds mix.wav and stems/ (after gain and pan; their sum is the mix before its limiter), preview.mp4 (the picture,
    copied, with the mix), timeline.otio, timeline.edl and markers.csv, tracks.json with masks/ and curves/, and manifest.json.

    Args:
        project: the open project.
        document: of it, as it was saved.
        model: the model's folder.
        delivery: form of mix and stems.

    Raises:
        ValueError: when nothing is heard, the timecode names no frame, or the picture fits no container.
    """
    heard = heard_tracks(project, document)
    found = mixed(project, heard)
    said = list(delivery.notices)
    rate = exact_rate(media_rate(project))
    if not 1 <= round(rate) <= 100:  # no label has a place for its frames
        said.append(f"the video has {float(rate):g} frames a second, which no timecode counts: no list was written")
        delivery = replace(delivery, timecode=None)
    elif delivery.timecode is None:
        delivery = replace(delivery, timecode=f"00:00:00{';' if drops(rate) else ':'}00")
    folder = project.folder / "exports" / datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S-%f")
    with replaced_folder(folder) as partial:
        with contextlib.redirect_stdout(io.StringIO()) as told:
            _write_sounds(project, heard, found, partial, delivery)
        said += [line.replace(f"{partial}/", "") for line in told.getvalue().splitlines()]
        if delivery.timecode is not None:
            start = parse_timecode(delivery.timecode, rate)
            cuts = cut_list(project, document, heard, found, folder, start, delivery.rate)
            (partial / "timeline.otio").write_text(interchange.otio(cuts), encoding="utf-8")
            (partial / "timeline.edl").write_text(interchange.edl(cuts), encoding="ascii", newline="")
            (partial / "markers.csv").write_text(interchange.markers_table(cuts), encoding="utf-8", newline="")
            if len(heard) > interchange.EDL_SOUNDS:
                left = len(heard) - interchange.EDL_SOUNDS
                said.append(
                    f"timeline.edl has room for {interchange.EDL_SOUNDS} sounds: {left} are named in comments alone"
                )
        rows = [_track_row(project, item, partial) for item in heard]
        (partial / "tracks.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        manifest = _manifest(project, heard, found, model, delivery) | {"notices": said}
        written = sorted(path for path in partial.rglob("*") if path.is_file())
        manifest["files"] = {path.relative_to(partial).as_posix(): file_sha256(path) for path in written}
        (partial / "manifest.json").write_text(
            json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return folder


def media_rate(project: "Project") -> float:
    """Frames a second of the project's video, on the average where they vary."""
    from drawaudio_model.media import probe

    return probe(project.video).fps or 0.0


def cut_list(
    project: "Project",
    document: Document,
    heard: Sequence[HeardTrack],
    found: "Mix",
    folder: Path,
    start: "Timecode",
    sample_rate: int,
) -> interchange.CutList:
    """The picture, the stems and the markers on one clock.

    Frames of a video whose rate varies are those that its average rate has at their times.
    """
    views = project.folder / "cache" / "media.json"
    shown = json.loads(views.read_bytes()) if views.is_file() else None
    times = [] if shown is None or not shown["rate"]["varies"] else shown["times"]

    def steady(frame: int) -> int:
        return round(times[min(frame, len(times) - 1)] * start.rate) if times else frame

    seconds = len(found.waveform) / SAMPLE_RATE if shown is None else shown["seconds"]
    frames = round(seconds * start.rate) if times or shown is None else len(shown["times"])
    sounds = [
        interchange.Sound(
            _name(item), f"stems/{_name(item)}.wav", round(item.take["seconds"] * sample_rate), sample_rate
        )
        for item in heard
    ]
    return interchange.CutList(
        name=project.folder.stem,
        picture=Path(os.path.relpath(project.video, folder)).as_posix(),
        frames=frames,
        start=start,
        sounds=sounds,
        markers=[interchange.Marker(steady(row["frame"]), row["name"]) for row in document["markers"]],
    )


def _write_sounds(
    project: "Project", heard: Sequence[HeardTrack], found: "Mix", folder: Path, delivery: Delivery
) -> None:
    from drawaudio_model import media
    from drawaudio_model.levels.full_scale import fit_full_scale
    from drawaudio_model.levels.mixdown import placed

    write_sound(folder / "mix.wav", found.waveform, video=project.video, delivery=delivery)
    (folder / "stems").mkdir()
    for item in heard:
        pan = item.track["pan"] if found.waveform.ndim == 2 else None
        stem = placed(_stem(project, item), item.track["gain_db"], pan).astype("float32")
        write_sound(folder / "stems" / f"{_name(item)}.wav", stem, video=project.video, delivery=delivery)
    lossy = fit_full_scale(found.waveform, lossy=True).waveform
    try:
        media.mux(project.video, lossy, folder / "preview.mp4")
    except ValueError:
        # Matroska holds what mp4 does not.
        media.mux(project.video, found.waveform, folder / "preview.mkv")


def _track_row(project: "Project", item: HeardTrack, folder: Path) -> dict[str, Any]:
    """One track of tracks.json; its mask and curve are written beside it."""
    from drawaudio_model.curve_files import write_points
    from drawaudio_model.studio.drawing import curve_levels

    asked = item.take["instructions"]
    row: dict[str, Any] = {
        "text": asked["text"].strip() or None,
        "negative_text": asked["negative_text"].strip() or None,
    }
    if asked["mask"] is not None and item.take["mask_folder"] is not None:
        name = f"masks/{_name(item)}"
        shutil.copytree(project.folder / "masks" / item.take["mask_folder"], folder / name)
        row |= {"mask": name, "mask_invert": asked["mask"]["invert"]}
    if asked["curve"] is not None:
        name = f"curves/{_name(item)}.csv"
        (folder / "curves").mkdir(exist_ok=True)
        write_points(folder / name, curve_levels(asked["curve"], item.take["seconds"]))
        row["loudness"] = name
    return row | {"gain_db": item.track["gain_db"], "pan": item.track["pan"], "seed": item.take["seed"]}


def _name(item: HeardTrack) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in item.take["instructions"]["text"])
    return f"{item.number:02d}-{'-'.join(words.lower().split())[:40] or 'track'}"


def _manifest(
    project: "Project", heard: Sequence[HeardTrack], found: "Mix", model: Path, delivery: Delivery
) -> dict[str, Any]:
    """Sources, takes and settings of an export, and the command that makes it again."""
    steps = sorted({item.take["steps"] for item in heard})
    models = sorted({item.take.get("model_sha256") or "not known" for item in heard})
    words = ["drawaudio", "mix", str(project.video), "--tracks", "tracks.json", "--model", str(model)]
    words += ["--sample-rate", str(delivery.rate), "--bits", str(delivery.bits)]
    words += [] if delivery.timecode is None else ["--timecode", delivery.timecode]
    # The command has one number of steps, and one model, for all tracks, and makes whole sounds under the model's own guidance.
    again = None
    if len(steps) == len(models) == 1 and not any(map(_is_particular, heard)):
        again = shlex.join([*words, "--steps", str(steps[0]), "-o", "mix.wav"])
    index = model / "model_index.json"
    licences = json.loads(index.read_bytes()) if index.is_file() else {}
    return {
        "video": {"name": project.video.name, "sha256": file_sha256(project.video)},
        "model": {
            "sha256": models[0] if len(models) == 1 else models,
            "base_model": licences.get("base_model"),
            "licence": licences.get("licence"),
        },
        "sample_rate_hz": delivery.rate,
        "bits": delivery.bits,
        "timecode": delivery.timecode,
        "content_ends_at_hz": MEL_MAX_HZ,
        "true_peak_before_limiter_db": round(found.peak_db, 2),
        "limited_by_db": round(found.reduction_db, 2),
        "takes": [
            {
                "track": _name(item),
                "id": item.take["id"],
                "seed": item.take["seed"],
                "steps": item.take["steps"],
                "made": item.take["made"],
                "model_sha256": item.take.get("model_sha256"),
                "section": item.take.get("section"),
            }
            for item in heard
        ],
        "render_again": again,
    }


def _is_particular(item: HeardTrack) -> bool:
    """Whether a take was made as no row of tracks.json can say it: in a section, or with a strictness of its own."""
    return item.take.get("section") is not None or item.take["instructions"].get("strictness") is not None


def main(arguments: list[str]) -> int:
    """The program: PROJECT MODEL DELIVERY, the last as JSON."""
    from drawaudio_model.studio.project import Project

    try:
        project = Project(Path(arguments[0]), alone=False)
        folder = export(project, project.document, Path(arguments[1]), Delivery(**json.loads(arguments[2])))
    except (ValueError, OSError) as error:
        sys.stdout.write(json.dumps({"error": one_sentence(error)}) + "\n")
        return 2
    notices = json.loads((folder / "manifest.json").read_bytes())["notices"]
    sys.stdout.write(json.dumps({"folder": folder.name, "notices": notices}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
