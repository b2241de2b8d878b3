"""Pictures and tables that the assets show."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from drawaudio_model.boxes import Box
from drawaudio_model.release.markdown import escaped, table
from pipelines import pictures


def open_png(content: bytes) -> Image.Image:
    """The picture, after checking what every picture of the metadata must be."""
    assert content.startswith(b"\x89PNG")
    assert len(content) <= pictures.MAX_BYTES
    image = Image.open(io.BytesIO(content)).convert("RGB")
    assert image.width == pictures.WIDTH
    return image


def noisy_frames(height: int, width: int) -> np.ndarray:
    """(40, H, W, 3) uint8: noise, the hardest picture to make small, over a ramp."""
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 200, width)[None, None, :, None]
    return (ramp + random.integers(0, 50, (40, height, width, 3))).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (360, 640), (640, 360)])
def test_contact_sheet_shows_frames_of_any_shape_with_boxes(height: int, width: int) -> None:
    frames = np.full((40, height, width, 3), 90, np.uint8)
    boxes = [Box(frame, 1, 0.9, 0.25, 0.25, 0.75, 0.75) for frame in range(40)]
    with_boxes = np.asarray(open_png(pictures.contact_sheet(frames, boxes, ["dog", "red ball"], "a red ball bounces")))
    colour = np.array(Image.new("RGB", (1, 1), pictures.PHRASE_COLOURS[1]))[0, 0]
    near = np.abs(with_boxes.astype(int) - colour).max(-1) < 12
    assert near.sum() > 8 * 200  # eight frames, each with four edges
    without = np.asarray(open_png(pictures.contact_sheet(frames, [], [], "a red ball bounces")))
    assert (np.abs(without.astype(int) - colour).max(-1) < 12).sum() == 0


def test_contact_sheet_of_noise_and_of_one_frame_is_small() -> None:
    open_png(pictures.contact_sheet(noisy_frames(224, 224), [], [], "x" * 500))
    open_png(pictures.contact_sheet(noisy_frames(64, 64)[:1], [], [], ""))


def test_mel_with_loudness_puts_a_tone_at_its_frequency() -> None:
    from drawaudio_model.clip_format import MEL_BINS, SAMPLE_RATE, SOURCE_MEL_FRAMES, SOURCE_SAMPLES
    from drawaudio_model.mel import log_mel

    tone = np.sin(2 * np.pi * 2000 * np.arange(SOURCE_SAMPLES) / SAMPLE_RATE).astype(np.float32)
    mel = np.asarray(log_mel(tone))
    assert mel.shape == (SOURCE_MEL_FRAMES, MEL_BINS)
    loudest = mel[SOURCE_MEL_FRAMES // 2].argmax()
    assert abs(loudest - pictures._mel_bin(np.array([2000.0]), MEL_BINS)[0]) <= 1
    open_png(pictures.mel_with_loudness(mel, np.full(100, 0.3), onsets=[1.0, 5.5]))


def test_mel_of_silence_can_be_drawn() -> None:
    open_png(pictures.mel_with_loudness(np.full((1000, 64), np.log(1e-5)), np.zeros(100)))


def test_curves_and_loss_are_drawn() -> None:
    random = np.random.default_rng(0)
    open_png(pictures.curves({f"clip {i}": random.random(100) for i in range(6)}))
    open_png(pictures.curves({"silent": np.zeros(100)}))
    rows = [{"done": i, "loss": 1 / (1 + i) + 0.01, "lag": i} for i in range(300)]
    one, two = (open_png(pictures.loss_curve(rows, names)) for names in (("loss",), ("loss", "lag")))
    assert two.height == 2 * one.height


def test_loss_curve_names_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"none of the 2 log rows has 'done' and a finite 'loss'"):
        pictures.loss_curve([{"done": 1, "loss": float("nan")}, {"done": 2}])


def test_table_is_markdown_with_escaped_cells() -> None:
    rows = [{"phrase": "a|b", "share": 0.123456}, {"phrase": "two\nlines", "clips": 3}]
    assert table(rows).splitlines() == [
        "| phrase | share | clips |",
        "| --- | ---: | ---: |",
        "| a\\|b | 0.1235 |  |",
        "| two lines |  | 3 |",
    ]
    assert table([]) == "(nothing)"


def test_picture_is_markdown_that_needs_no_file() -> None:
    png = pictures.curves({"a": np.ones(100)})
    text = pictures.picture(png, "a curve")
    assert text.startswith("![a curve](data:image/png;base64,")
    assert base64.b64decode(text.split(",")[1].rstrip(")")) == png


@pytest.mark.parametrize(
    "text",
    [
        "![x](https://spy.example/p.png)",
        "[here](javascript:alert(1)) and http://spy.example and www.spy.example",
        "<img src=x onerror=alert(1)> &lt;b&gt;",
        "*loud* _soft_ `code` ~gone~ a\\b $x$",
        "a | b | c",
        "snake_case stays 1_000",
    ],
)
def test_a_text_of_somebodys_is_shown_word_for_word(text: str) -> None:
    """Captions and labels come from the net: on the card's page they must not act."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for source in (f"*{escaped(text)}*", table([{"caption": text}])):
        tokens = [child for token in parser.parse(source) for child in [token, *(token.children or ())]]
        kinds = {token.type for token in tokens}
        assert not kinds & {"link_open", "image", "html_inline", "html_block", "code_inline", "s_open", "strong_open"}
        assert "".join(token.content for token in tokens if token.type in ("text", "text_special")).endswith(text)
    assert "://" not in escaped(text) and "www." not in escaped(text)
    assert escaped("snake_case stays 1_000") == "snake_case stays 1_000"
