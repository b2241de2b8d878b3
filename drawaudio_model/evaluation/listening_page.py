"""The page to listen to: a table of figures, and for each clip its video with the generated and with the real sound,
the commanded and the measured curve, and the log-mels.

One HTML file and a folder `page/` beside it; no script, no font and no picture from elsewhere, so both can be copied
anywhere or opened from disk.

Legend: V video frames, H/W pixels, T mel frames, M mel bins, P loudness points.
"""

import html
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import av
import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from drawaudio_model import media as media_files
from drawaudio_model import metrics
from drawaudio_model.atomic_files import folder_beside, write_atomically
from drawaudio_model.boxes import Box, boxes_from_json
from drawaudio_model.clip_format import CLIP_SECONDS, VIDEO_FPS, VIDEO_FRAMES
from drawaudio_model.clip_frames import frame_members, read_frames
from drawaudio_model.evaluation.report import ReportRow
from drawaudio_model.levels.full_scale import fit_full_scale
from drawaudio_model.loudness import loudness_signal, point_times
from drawaudio_model.mel import SILENCE, log_mel
from drawaudio_model.progress import Reporter
from drawaudio_model.shard import ShardReader, finished_shards

PICTURE_FPS = 12
"""Frames a second of the page's videos where the clip's own video is at hand (the demo world's rate)."""
_MEL_TOP = 3.0
"""Log-mel that is drawn brightest; a full-scale sine reaches about 3.5."""
_CHART_WIDTH, _CHART_HEIGHT = 640, 150


@dataclass(frozen=True, eq=False)
class PageClip:
    """One clip of the page; waveforms are (samples,) float32 of CLIP_SECONDS."""

    key: str
    caption: str
    boxes: list[Any]
    """As in the training sample: the mask that was given."""
    commanded: np.ndarray
    """(P,) the curve that was given."""
    real: np.ndarray
    sounds: dict[str, np.ndarray]
    """Words -> waveform; the first is the one that is judged."""
    figures: dict[str, float]
    """Words -> value, of the first sound."""


def write_page(
    output: Path,
    *,
    title: str,
    result: Mapping[str, Any],
    clips: Sequence[PageClip],
    media: Path | None,
    above: str | None = None,
    below: str | None = None,
    report: Reporter | None = None,
) -> Path:
    """Writes `output/index.html` and `output/page/`; returns the path of the first.

    Args:
        output: folder.
        title: heading.
        result: content of metrics.json.
        clips: what to show, in order.
        media: folder of shards with the clips' pictures (`clip_media` or `raw_clips`); None: sounds only.
        above: HTML that stands above the clips; None: the table of the result's rows.
        below: HTML below the table, such as a second one; None: nothing.
        report: counts the clips.
    """
    folder = output / "page"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pictures = Pictures(media)
    cards = []
    for clip in clips:
        cards.append(_card(folder, clip, pictures))
        if report is not None:
            report.step()
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    body = template.substitute(
        title=html.escape(title),
        facts=_facts(result),
        table=(_table(result["rows"]) if above is None else above) + (below or ""),
        cards="\n".join(cards),
    )
    write_atomically(output / "index.html", body.encode())
    return output / "index.html"


class Pictures:
    """Frames of clips by key, out of shards of JPEGs or of videos."""

    def __init__(self, folder: Path | None) -> None:
        names = [] if folder is None else finished_shards(folder)
        if folder is not None and not names:
            raise ValueError(
                f"{folder} has no finished shard; give the folder of clip_media or raw_clips, or leave it out"
            )
        self._readers = [] if folder is None else [ShardReader(folder, name) for name in names]

    def find(self, key: str) -> tuple[np.ndarray, int] | None:
        """((V, H, W, 3) uint8 frames of CLIP_SECONDS, frames a second); None where the clip has no pictures."""
        for reader in self._readers:
            if key not in reader:
                continue
            if "mp4" in reader.members(key):
                video = reader.member(key, "mp4")
                return media_files.read_frames(
                    video, seconds=CLIP_SECONDS, fps=PICTURE_FPS, longer_side=320
                ), PICTURE_FPS
            return (read_frames(reader, key, most=VIDEO_FRAMES), VIDEO_FPS) if frame_members(reader, key) else None
        return None

    def find_one_a_second(self, key: str) -> np.ndarray | None:
        """(seconds, H, W, 3) uint8; None where the clip has no pictures."""
        frames_and_rate = self.find(key)
        return None if frames_and_rate is None else frames_and_rate[0][:: frames_and_rate[1]]


def _card(folder: Path, clip: PageClip, pictures: Pictures) -> str:
    """One clip's HTML; writes its files into `folder`."""
    frames_and_rate = pictures.find(clip.key)
    sounds = {**clip.sounds, "real sound": clip.real}
    players, strips = [], []
    for number, (name, waveform) in enumerate(sounds.items()):
        stem = f"{clip.key}.{number}"
        # The judged and the real sound get the pictures; a third video of the same scene would only fill the page.
        if frames_and_rate is not None and number in (0, len(sounds) - 1):
            frames, fps = frames_and_rate
            shown = outline_boxes(frames, clip.boxes, fps) if number == 0 else frames
            sound = fit_full_scale(waveform, lossy=True)
            write_video(folder / f"{stem}.mp4", shown, fps, sound.waveform)
            Image.fromarray(shown[len(shown) // 3]).save(folder / f"{stem}.jpg", quality=85)
            player = f'<video controls preload="none" poster="page/{stem}.jpg" src="page/{stem}.mp4"></video>'
        else:
            sound = fit_full_scale(waveform)
            media_files.write_audio(folder / f"{stem}.flac", sound.waveform)
            player = f'<audio controls preload="none" src="page/{stem}.flac"></audio>'
        label = f"{name} (limited by {sound.reduction_db:.1f} dB)" if sound.limited else name
        players.append(f"<figure>{player}<figcaption>{html.escape(label)}</figcaption></figure>")
        mel_picture(waveform).save(folder / f"{stem}.png")
        strips.append(
            f'<figure><img src="page/{stem}.png" alt="log-mel"><figcaption>{html.escape(name)}</figcaption></figure>'
        )
    figures = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{figure_text(value)}</td></tr>" for name, value in clip.figures.items()
    )
    return _CARD.format(
        key=html.escape(clip.key),
        caption=html.escape(clip.caption),
        players="".join(players),
        chart=curve_chart(clip),
        strips="".join(strips),
        figures=figures,
    )


def outline_boxes(frames: np.ndarray, boxes: list[Any], fps: int) -> np.ndarray:
    """The frames with the mask's boxes drawn as outlines; boxes lie on frames at 4 fps."""
    by_frame: dict[int, list[Box]] = {}
    for box in boxes_from_json(json.dumps(boxes), frames=None):
        by_frame.setdefault(box.frame, []).append(box)
    drawn = []
    for number, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        draw = ImageDraw.Draw(picture)
        for box in by_frame.get(number * VIDEO_FPS // fps, []):
            corners = (box.x0 * picture.width, box.y0 * picture.height, box.x1 * picture.width, box.y1 * picture.height)
            draw.rectangle(corners, outline=(255, 196, 0), width=max(picture.width // 110, 2))
        drawn.append(np.asarray(picture))
    return np.stack(drawn)


def write_video(path: Path, frames: np.ndarray, fps: int, waveform: np.ndarray) -> None:
    """An mp4 (H.264, AAC) of the frames with the waveform; an odd row or column of pixels is cut off."""
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    with folder_beside(path) as temporary:
        silent = temporary / "silent.mp4"
        with av.open(str(silent), "w") as sink:
            stream = sink.add_stream("libx264", rate=fps, width=width, height=height, pix_fmt="yuv420p")
            stream.options = {"crf": "23", "preset": "veryfast"}
            for frame in frames:
                sink.mux(stream.encode(av.VideoFrame.from_ndarray(frame[:height, :width], format="rgb24")))
            sink.mux(stream.encode(None))
        media_files.mux(silent, waveform, path)


def mel_picture(waveform: np.ndarray) -> Image.Image:
    """The log-mel as a picture, time to the right and low frequencies at the bottom, same colours for all clips."""
    mel = log_mel(waveform).numpy()  # (T, M)
    level = ((mel - SILENCE) / (_MEL_TOP - SILENCE)).clip(0, 1)
    colours = matplotlib.colormaps["magma"](level.T[::-1])[..., :3]  # (M, T, 3)
    picture = Image.fromarray((colours * 255).round().astype(np.uint8))
    return picture.resize((picture.width // 2, picture.height * 2), Image.Resampling.BOX)


def curve_chart(clip: PageClip) -> str:
    """SVG: the commanded curve as an area, the judged sound's as a line, onsets as ticks (real above, generated below)."""
    judged = next(iter(clip.sounds.values()))
    measured = loudness_signal(judged, seconds=CLIP_SECONDS)
    top = max(float(clip.commanded.max()), float(measured.max()), 1e-3) * 1.08
    times = point_times(CLIP_SECONDS)

    def points(curve: np.ndarray) -> str:
        pairs = zip(times / CLIP_SECONDS * _CHART_WIDTH, (1 - curve / top) * _CHART_HEIGHT, strict=True)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)

    def ticks(waveform: np.ndarray, y: float, name: str) -> str:
        xs = metrics.onset_times(waveform) / CLIP_SECONDS * _CHART_WIDTH
        return "".join(f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 9}"/>' for x in xs)

    first, last = times[0] / CLIP_SECONDS * _CHART_WIDTH, times[-1] / CLIP_SECONDS * _CHART_WIDTH
    area = f"{first:.1f},{_CHART_HEIGHT} {points(clip.commanded)} {last:.1f},{_CHART_HEIGHT}"
    grid = "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{_CHART_HEIGHT}"/>'
        f'<text x="{min(x + 3, _CHART_WIDTH - 22)}" y="{_CHART_HEIGHT + 26}">{second} s</text>'
        for second in range(CLIP_SECONDS + 1)
        for x in [second * _CHART_WIDTH // CLIP_SECONDS]
    )
    return (
        f'<svg viewBox="-4 -14 {_CHART_WIDTH + 8} {_CHART_HEIGHT + 44}" role="img" aria-label="loudness curves">{grid}'
        f'<polygon class="commanded" points="{area}"/><polyline class="measured" points="{points(measured)}"/>'
        f"{ticks(clip.real, -12, 'real')}{ticks(judged, _CHART_HEIGHT + 3, 'made')}</svg>"
    )


def _facts(result: Mapping[str, Any]) -> str:
    facts = {
        "clips": result["clips"],
        "seed": result["seed"],
        "steps": result["steps"],
        "guidance text / video / loudness": " / ".join(
            f"{result[f'guidance_{name}']:g}" for name in ("text", "video", "loudness")
        ),
        "model": str(result["model_sha256"])[:12],
        "device": result["device"],
    }
    return "".join(
        f"<span><b>{html.escape(str(value))}</b> {html.escape(name)}</span>" for name, value in facts.items()
    )


def _table(rows: Mapping[str, ReportRow]) -> str:
    """The figures: a row a metric, a column a kind of sound, interval and count below the value."""
    first = next(iter(rows.values()))
    head = "".join(f"<th>{html.escape(row['name'])}</th>" for row in rows.values())
    lines = []
    for metric, entry in first["metrics"].items():
        cells = []
        for row in rows.values():
            value = row["metrics"][metric]
            interval = f"{figure_text(value['low'])} to {figure_text(value['high'])}, " if "low" in value else ""
            cells.append(f"<td>{figure_text(value['value'])}<small>{interval}n = {value['count']}</small></td>")
        note = f"<small>{html.escape(entry['statistic'])}</small>" if "statistic" in entry else ""
        lines.append(f"<tr><th>{html.escape(entry['name'])}{note}</th>{''.join(cells)}</tr>")
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def figure_text(value: float | None) -> str:
    """A figure for people: two or three digits that count."""
    if value is None or not np.isfinite(value):
        return "undefined"
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


_CARD = """<article id="{key}">
<h2>{caption}</h2><p class="key">{key}</p>
<div class="players">{players}</div>
<div class="curves">
<div>{chart}<p class="legend"><i class="commanded"></i>commanded loudness <i class="measured"></i>loudness of the generated
sound <i class="real"></i>onsets of the real sound <i class="made"></i>of the generated one</p></div>
<table class="figures"><tbody>{figures}</tbody></table>
</div>
<div class="mels">{strips}</div>
</article>"""
