"""The README's picture: what a person gives (words, a drawn mask, a drawn curve) and the sound that obeys.

    python docs/pictures/instructions.py         writes docs/pictures/instructions.png; seconds, without a trained model

The clip is a test clip of the rendered world, and the sound is the world's own: the bell's material under the curve, as the
training targets of drawn instructions are made.
"""

from pathlib import Path

OUTPUT = Path(__file__).parent / "instructions.png"
CLIP = "demo900002_000000"
"""The clip of the README's commands: a bell on the right, rain on the left."""
POINTS = [(0.0, 0.0), (1.2, 0.0), (2.0, 0.12), (2.6, 0.03), (4.2, 0.07), (6.0, 0.22), (6.1, 0.0), (8.0, 0.0)]
MASK_COLOUR = (255, 90, 54)
SHOWN_SECONDS = 2.0


def main() -> None:
    """Render the clip, shape its sound and write the picture."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from drawaudio_model.clip_format import CLIP_SAMPLES, CLIP_SECONDS, VIDEO_FPS
    from drawaudio_model.drawn.masks import drawn_mask
    from drawaudio_model.drawn.sounds import MATERIAL_BOOST_DB, PEAK
    from drawaudio_model.levels.matching import match_levels
    from drawaudio_model.loudness import from_points
    from drawaudio_model.mel import log_mel, normalize_waveform
    from pipelines.profiles import PROFILES
    from pipelines.sources.demo.sounds import render_material
    from pipelines.sources.demo.world import RENDER_FPS, draw_clip, list_clips

    profile = PROFILES["demo"]
    train, val, test = profile.clips
    clip = next(each for each in list_clips(train=train, val=val, test=test, seed=profile.seed) if each.key == CLIP)
    frames, boxes = draw_clip(clip)
    frame = frames[round(SHOWN_SECONDS * RENDER_FPS)]
    number = round(SHOWN_SECONDS * VIDEO_FPS)
    masks = drawn_mask(np.random.default_rng(7), boxes[0], *frame.shape[:2], "blob")
    shown = frame.astype(float)
    shown[masks[number]] = 0.45 * shown[masks[number]] + 0.55 * np.array(MASK_COLOUR)

    curve = from_points(POINTS, CLIP_SECONDS)
    material = render_material(clip.objects[0])[:CLIP_SAMPLES]
    sound = match_levels(material, curve, max_boost_db=MATERIAL_BOOST_DB, ceiling=PEAK).waveform
    mel = log_mel(normalize_waveform(sound)).numpy()

    figure = Figure(figsize=(9, 3.1), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.95))
    picture = figure.add_subplot(grid[:, 0])
    picture.imshow(shown.astype(np.uint8))
    picture.contour(masks[number], levels=[0.5], colors=["#ff5a36"], linewidths=2)
    picture.set_title(f"“{clip.caption}”", fontsize=10, loc="left")
    picture.set_xlabel("words, and a mask drawn on the thing", fontsize=9)
    picture.set_xticks([])
    picture.set_yticks([])
    drawn = figure.add_subplot(grid[0, 1])
    times, levels = zip(*POINTS, strict=True)
    drawn.fill_between(times, levels, color="#1769aa", alpha=0.15, linewidth=0)
    drawn.plot(times, levels, "o-", color="#1769aa", markersize=5)
    drawn.set_title("a drawn curve: level over time", fontsize=10, loc="left")
    drawn.set(xlim=(0, CLIP_SECONDS), ylim=(0, 0.26))
    drawn.tick_params(labelsize=8, labelbottom=False)
    drawn.spines[["top", "right"]].set_visible(False)
    heard = figure.add_subplot(grid[1, 1])
    extent = (0, CLIP_SECONDS, 0, mel.shape[1])
    high = float(mel.max())
    low = high - 6  # a wider range would show the faint ring after the end as loud
    heard.imshow(mel.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=high)
    heard.set_title("a sound that obeys (log-mel)", fontsize=10, loc="left")
    heard.set_yticks([])
    heard.tick_params(labelsize=8)
    heard.set_xlabel("seconds", fontsize=9)
    figure.savefig(OUTPUT, metadata={"Software": None})


if __name__ == "__main__":
    main()
