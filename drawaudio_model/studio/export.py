"""The mix that the page plays, and what is exported: the same function makes both, so one hears what one gets.

An export renders again with `drawaudio mix`: its tracks.json names the pictures of the masks, the tables of the curves and
the seeds with which the takes were made, not what was drawn since then.

Run as a program, with a project and a model, it exports the document as it was saved last, and prints a line of JSON: the
server loads no torch for it.
"""

import io
import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from drawaudio_model.atomic_files import replaced_folder
from drawaudio_model.clip_format import MEL_MAX_HZ, SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

    from drawaudio_model.levels.mixdown import Mix
    from drawaudio_model.studio.project import Project


class HeardTrack(NamedTuple):
    """A track that is heard."""

    number: int
    """Its place among all tracks, from 1."""
    track: Mapping[str, Any]
    take: Mapping[str, Any]


def heard_tracks(project: "Project", document: Mapping[str, Any]) -> list[HeardTrack]:
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
    return mix(stems, [item.track["gain_db"] for item in heard])


def _stem(project: "Project", item: HeardTrack) -> "np.ndarray":
    import soundfile

    return soundfile.read(project.take_file(item.take["id"], ".wav"), dtype="float32")[0]


def wav_of(waveform: "np.ndarray") -> bytes:
    """A sound as .wav of floats: what is played is not rounded."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def export(project: "Project", document: Mapping[str, Any], model: Path) -> Path:
    """Writes an export into the project; returns its folder.

    It holds mix.wav, preview.mp4 (the picture, copied, with the mix), stems/ (after gain, floats: their sum is the mix before
    its limiter), tracks.json with masks/ and curves/, and manifest.json.

    Raises:
        ValueError: when nothing is heard, or the picture fits no container.
    """
    heard = heard_tracks(project, document)
    found = mixed(project, heard)
    folder = project.folder / "exports" / datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S-%f")
    with replaced_folder(folder) as partial:
        _write_sounds(project, heard, found, partial)
        rows = [_track_row(project, item, partial) for item in heard]
        (partial / "tracks.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        manifest = _manifest(project, heard, found, model)
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return folder


def _write_sounds(project: "Project", heard: Sequence[HeardTrack], found: "Mix", folder: Path) -> None:
    from drawaudio_model import media
    from drawaudio_model.levels.full_scale import fit_full_scale

    media.write_audio(folder / "mix.wav", fit_full_scale(found.waveform).waveform)
    (folder / "stems").mkdir()
    for item in heard:
        stem = _stem(project, item) * 10 ** (item.track["gain_db"] / 20)
        media.write_audio(folder / "stems" / f"{_name(item)}.wav", stem.astype("float32"), floats=True)
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
    if item.take["mask_folder"] is not None:
        name = f"masks/{_name(item)}"
        shutil.copytree(project.folder / "masks" / item.take["mask_folder"], folder / name)
        row |= {"mask": name, "mask_invert": asked["mask"]["invert"]}
    if asked["curve"] is not None:
        name = f"curves/{_name(item)}.csv"
        (folder / "curves").mkdir(exist_ok=True)
        write_points(folder / name, curve_levels(asked["curve"], item.take["seconds"]))
        row["loudness"] = name
    return row | {"gain_db": item.track["gain_db"], "seed": item.take["seed"]}


def _name(item: HeardTrack) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in item.take["instructions"]["text"])
    return f"{item.number:02d}-{'-'.join(words.lower().split())[:40] or 'track'}"


def _manifest(project: "Project", heard: Sequence[HeardTrack], found: "Mix", model: Path) -> dict[str, Any]:
    """What was made of what, and how to make it again."""
    from drawaudio_model.atomic_files import file_sha256
    from drawaudio_model.model_folder import model_sha256, read_json

    steps = sorted({item.take["steps"] for item in heard})
    words = ["drawaudio", "mix", str(project.video), "--tracks", "tracks.json", "--model", str(model)]
    command = shlex.join([*words, "--steps", str(steps[0]), "-o", "mix.wav"])
    return {
        "video": {"name": project.video.name, "sha256": file_sha256(project.video)},
        "model": {"sha256": model_sha256(model), "licence": read_json(model / "model_index.json").get("licence")},
        "sample_rate_hz": SAMPLE_RATE,
        "content_ends_at_hz": MEL_MAX_HZ,
        "true_peak_before_limiter_db": round(found.peak_db, 2),
        "limited_by_db": round(found.reduction_db, 2),
        "takes": [
            {
                "track": _name(item),
                "seed": item.take["seed"],
                "steps": item.take["steps"],
                "made": item.take["made"],
                "section": item.take.get("section"),
            }
            for item in heard
        ],
        # The command has one number of steps for all tracks, and makes whole sounds under the model's own guidance.
        "render_again": command if len(steps) == 1 and not any(map(_is_particular, heard)) else None,
    }


def _is_particular(item: HeardTrack) -> bool:
    """Whether a take was made as no row of tracks.json can say it: in a section, or with a strictness of its own."""
    return item.take.get("section") is not None or item.take["instructions"].get("strictness") is not None


def main(arguments: list[str]) -> int:
    """The program: PROJECT MODEL."""
    from drawaudio_model.studio.project import Project

    try:
        project = Project(Path(arguments[0]), alone=False)
        folder = export(project, project.document, Path(arguments[1]))
    except (ValueError, OSError) as error:
        sys.stdout.write(json.dumps({"error": " ".join(str(error).split())}) + "\n")
        return 2
    sys.stdout.write(json.dumps({"folder": folder.name}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
