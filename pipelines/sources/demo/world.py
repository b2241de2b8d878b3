"""The demo world: a corpus of rendered clips whose every fact is known, a pure function of a seed.

A scene holds one or two sounding objects and up to two silent ones, each of another kind. The caption names the target, and
the clip's sound is the target's stem alone, so of a pair only the instruction tells which one is meant.
`list_clips` decides everything; `render_clip` draws, synthesises and encodes.
"""

import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context

import av
import numpy as np

from drawaudio_model.clip_format import (
    FRAME_SIZE,
    SAMPLE_RATE,
    SOURCE_SAMPLES,
    SOURCE_SECONDS,
    SOURCE_VIDEO_FRAMES,
    VIDEO_FPS,
)
from drawaudio_model.parent_process import end_with_parent
from drawaudio_model.scene_truth import SceneTruth, TrueObject
from pipelines.sources.demo.drawing import Canvas, backdrop
from pipelines.sources.demo.language import COLOURS, NOUNS, caption, names_of, sample_wordings
from pipelines.sources.demo.objects import KINDS, SceneObject, onsets, sample_events
from pipelines.sources.demo.pictures import ASPECT, draw_object, draw_prop
from pipelines.sources.demo.sounds import render_material, render_stem

RENDER_FPS = 12
"""Frames a second of the rendered video; a multiple of VIDEO_FPS, so that every CAVP frame is a rendered one."""
RENDER_FRAMES = RENDER_FPS * SOURCE_SECONDS
AUDIO_RATE = 3 * SAMPLE_RATE
"""Samples a second in the mp4: AAC's blocks are shorter in time at a higher rate, which keeps onsets sharp."""

_SPLIT_BASE = {"train": 0, "val": 800_000, "test": 900_000}
"""First clip number of each split: a split can grow without renaming or re-drawing any clip."""


@dataclass(frozen=True)
class DemoClip:
    """One clip of the corpus and all that happens in it."""

    key: str
    source_id: str
    start_s: int
    split: str
    caption: str
    label: str
    """Kind of the target."""
    objects: tuple[SceneObject, ...]
    """The target first, then a second sounding object if there is one, then the silent ones."""
    backdrop_seed: int
    wordings: tuple[str, ...]
    """Other wordings of what the caption means, all distinct."""
    other_wordings: tuple[str, ...] = ()
    """Wordings for the sound of the second thing that moves, all distinct; none where there is none."""


@dataclass(frozen=True)
class RenderedClip:
    """A clip as a file, and the truth about it."""

    media: bytes
    """mp4: H.264, FRAME_SIZE square, RENDER_FPS; AAC, the target's stem."""
    truth: SceneTruth
    stems: list[np.ndarray]
    """Sound of each active object, in the order of the objects: float32 (SOURCE_SAMPLES,)."""
    materials: list[np.ndarray]
    """The same objects' sounds without a pause: what curves drawn by hand shape (drawn_instructions)."""


def list_clips(*, train: int, val: int, test: int, seed: int) -> list[DemoClip]:
    """The corpus: `train`, `val` and `test` clips, each a function of (seed, split, its number in the split) alone.

    Every run of len(KINDS) clips of a split has each kind as its target once.

    Raises:
        ValueError: when a split is larger than its range of numbers.
    """
    clips = []
    for split, count in (("train", train), ("val", val), ("test", test)):
        if not 0 <= count <= 100_000:
            raise ValueError(f"demo split {split!r} has {count} clips, expected 0 to 100000; render fewer")
        clips += [_sample_clip(seed, split, index) for index in range(count)]
    return clips


def _sample_clip(seed: int, split: str, index: int) -> DemoClip:
    number = _SPLIT_BASE[split] + index
    deck = np.random.default_rng([seed, _SPLIT_BASE[split] + index // len(KINDS), 1]).permutation(len(KINDS))
    rng = np.random.default_rng([seed, number, 0])
    target = KINDS[deck[index % len(KINDS)]]
    active = int(rng.choice([1, 2]))
    silent = int(rng.choice([0, 1, 2], p=[0.35, 0.4, 0.25]))
    others = [kind for kind in KINDS if kind != target]
    kinds = [target, *(others[k] for k in rng.permutation(len(others))[: active + silent - 1])]
    regions = _place(kinds, rng)
    objects = tuple(
        _sample_object(kind, region, place < active, rng)
        for place, (kind, region) in enumerate(zip(kinds, regions, strict=True))
    )
    source_id = f"demo{number:06d}"
    sentence = caption(target, objects[0].phrase, rng)
    words = np.random.default_rng([seed, number, 2])
    return DemoClip(
        key=f"{source_id}_{0:06d}",
        source_id=source_id,
        start_s=0,
        split=split,
        caption=sentence,
        label=target,
        objects=objects,
        backdrop_seed=int(rng.integers(2**31)),
        wordings=sample_wordings(target, objects[0].phrase, words, also_not=sentence),
        other_wordings=sample_wordings(kinds[1], objects[1].phrase, words) if active > 1 else (),
    )


def _sample_object(
    kind: str, region: tuple[float, float, float, float], active: bool, rng: np.random.Generator
) -> SceneObject:
    colour, noun = str(rng.choice(COLOURS[kind])), str(rng.choice(NOUNS[kind]))
    return SceneObject(
        kind=kind,
        colour=colour,
        phrase=f"{colour} {noun}" if rng.random() < 0.75 else noun,
        region=region,
        events=sample_events(kind, rng) if active else (),
        pitch=float(rng.uniform(0.85, 1.18)),
        peak=float(rng.uniform(0.3, 0.9)),
        mirrored=bool(rng.random() < 0.5),
        noise_seed=int(rng.integers(2**31)),
    )


_MARGIN = 8.0
"""Pixels that stay free around every region, for its prop and against overlap."""


def _place(kinds: Sequence[str], rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """One region per object, no two overlapping: the whole picture, halves, a half and two quarters, or quarters."""
    side, half = float(FRAME_SIZE), FRAME_SIZE / 2
    quarters = [(x, y, x + half, y + half) for x in (0.0, half) for y in (0.0, half)]
    cells = {
        1: [(0.0, 0.0, side, side)],
        2: [(0.0, 0.0, half, side), (half, 0.0, side, side)],
        3: [(0.0, 0.0, half, side), *quarters[2:]] if rng.random() < 0.5 else [*quarters[:2], (half, 0.0, side, side)],
        4: quarters,
    }[len(kinds)]
    return [_fit(kind, cells[k], rng) for kind, k in zip(kinds, rng.permutation(len(cells)), strict=True)]


def _fit(
    kind: str, cell: tuple[float, float, float, float], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A region of the kind's shape at a random place and size in the cell."""
    x0, y0, x1, y1 = cell[0] + _MARGIN, cell[1] + _MARGIN, cell[2] - _MARGIN, cell[3] - _MARGIN
    largest = min(y1 - y0, (x1 - x0) / ASPECT[kind])
    height = max(min(largest, 88.0), largest * rng.uniform(0.6, 1.0))
    width = height * ASPECT[kind]
    left, top = x0 + rng.random() * (x1 - x0 - width), y0 + rng.random() * (y1 - y0 - height)
    return float(left), float(top), float(left + width), float(top + height)


def _rounded(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    return round(float(x1), 5), round(float(y1), 5), round(float(x2), 5), round(float(y2), 5)


def render_clip(clip: DemoClip) -> RenderedClip:
    """Draw, synthesise and encode one clip; equal clips give equal bytes.

    A true object's `stem` is the index into `stems` and `materials`.
    """
    frames, boxes = draw_clip(clip)
    sounding = [thing for thing in clip.objects if thing.active]
    stems = [render_stem(thing) for thing in sounding]
    objects, wordings = [], (clip.wordings, clip.other_wordings)
    for place, thing in enumerate(clip.objects):
        starts = onsets(thing)
        objects.append(
            TrueObject(
                kind=thing.kind,
                phrase=thing.phrase,
                colour=thing.colour,
                active=thing.active,
                stem=place if thing.active else None,
                boxes=tuple(_rounded(*box) for box in boxes[place]),
                names=tuple(names_of(thing.kind, thing.colour)),
                wordings=tuple(wordings[place]) if thing.active else (),
                onsets_seconds=tuple(seconds for seconds, _ in starts),
                onset_levels=tuple(round(level, 4) for _, level in starts),
            )
        )
    truth = SceneTruth(clip.key, clip.label, clip.caption, target=0, objects=tuple(objects))
    materials = [render_material(thing) for thing in sounding]
    return RenderedClip(media=encode_mp4(frames, stems[0]), truth=truth, stems=stems, materials=materials)


_CLIPS_PER_PROCESS = 4
"""Starting a process takes about as long as rendering this many clips."""


def render_clips(clips: Sequence[DemoClip], *, processes: int) -> Iterator[RenderedClip]:
    """The clips rendered in their order, by at most that many spawned processes (1: in this one).

    No more are started than there is work for. Only a few clips are ahead of the caller at any time. The bytes do not
    depend on `processes`.

    Raises:
        ValueError: when `processes` is below 1.
    """
    if processes < 1:
        raise ValueError(f"rendering with {processes} processes, expected at least 1; give the number of free cores")
    processes = min(processes, -(-len(clips) // _CLIPS_PER_PROCESS))
    if processes <= 1:
        yield from map(render_clip, clips)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=end_with_parent)
    try:
        ahead: deque[Future[RenderedClip]] = deque()
        for clip in clips:
            ahead.append(pool.submit(render_clip, clip))
            if len(ahead) > 2 * processes:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def draw_clip(clip: DemoClip) -> tuple[np.ndarray, np.ndarray]:
    """The pictures before encoding and the boxes as drawn.

    Returns:
        frames (RENDER_FRAMES, FRAME_SIZE, FRAME_SIZE, 3) uint8 RGB; boxes (objects, SOURCE_VIDEO_FRAMES, 4) in [0, 1].
    """
    canvas = Canvas(backdrop(np.random.default_rng(clip.backdrop_seed)))
    boxes = np.zeros((len(clip.objects), SOURCE_VIDEO_FRAMES, 4))
    for thing in clip.objects:
        draw_prop(canvas, thing)
    for place, thing in enumerate(clip.objects):
        if not thing.active:
            canvas.begin_box()
            draw_object(canvas, thing, 0.0)
            boxes[place] = canvas.end_box()
    canvas.keep()
    frames = np.empty((RENDER_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    every = RENDER_FPS // VIDEO_FPS
    for index in range(RENDER_FRAMES):
        canvas.clear()
        for place, thing in enumerate(clip.objects):
            if thing.active:
                boxed = index % every == 0
                if boxed:
                    canvas.begin_box()
                draw_object(canvas, thing, index / RENDER_FPS)
                if boxed:
                    boxes[place, index // every] = canvas.end_box()
        frames[index] = canvas.pixels()
    return frames, boxes


def encode_mp4(frames: np.ndarray, waveform: np.ndarray) -> bytes:
    """Frames at RENDER_FPS and a waveform at SAMPLE_RATE as one mp4 (H.264 + AAC); the same input gives the same bytes.

    No B-frames, so the picture starts at 0 without an edit list; the AAC encoder's delay is cut by one. No macroblock tree:
    with AVX-512, x264's looks at memory that nobody wrote, and the bytes change from run to run.

    Args:
        frames: (n, H, W, 3) uint8 RGB.
        waveform: float (SOURCE_SAMPLES,) in [-1, 1].
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        options = {"preset": "veryfast", "crf": "21", "bf": "0", "threads": "1", "x264-params": "mbtree=0"}
        video = container.add_stream("libx264", rate=RENDER_FPS, options=options)
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        audio = container.add_stream(
            "aac", rate=AUDIO_RATE, layout="mono", options={"flags": "+bitexact", "aac_tns": "0", "aac_pns": "0"}
        )
        audio.bit_rate = 128_000
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(_upsample(waveform)[None], format="fltp", layout="mono")
        sound.sample_rate, sound.time_base, sound.pts = AUDIO_RATE, Fraction(1, AUDIO_RATE), 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return buffer.getvalue()


def _upsample(waveform: np.ndarray) -> np.ndarray:
    """The same sound at AUDIO_RATE: its spectrum with zeros above, float32."""
    factor = AUDIO_RATE // SAMPLE_RATE
    longer = np.fft.irfft(np.fft.rfft(waveform), SOURCE_SAMPLES * factor) * factor
    return longer.astype(np.float32)
