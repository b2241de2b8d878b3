import json

import numpy as np
import pytest
import torch
from PIL import Image

from drawaudio_model import masks
from drawaudio_model.boxes import Box


def random_boxes(count=20, frames=40, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=2).round(6)
    return [
        Box(int(rng.integers(frames)), int(rng.integers(3)), round(float(rng.uniform()), 6), x[0], y[0], x[1], y[1])
        for x, y in corners
    ]


def test_boxes_survive_json_and_equal_boxes_give_equal_text():
    boxes = random_boxes()
    text = masks.boxes_to_json(boxes)
    assert set(masks.boxes_from_json(text)) == set(boxes)
    assert masks.boxes_to_json(list(reversed(boxes))) == text
    assert len(json.loads(text)) == 40


def test_a_box_covers_every_pixel_that_it_touches():
    mask = masks.rasterize([Box(1, 0, 0.9, 0.1, 0.25, 0.35, 0.5)], 8, 10, frames=3)
    expected = np.zeros((3, 8, 10), dtype=bool)
    expected[1, 2:4, 1:4] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_box_on_the_grid_covers_exactly_its_pixels():
    for left in range(10):
        for right in range(left + 1, 11):
            mask = masks.rasterize([Box(0, 0, 1.0, left / 10, 0, right / 10, 1)], 1, 10, frames=1)
            np.testing.assert_array_equal(np.flatnonzero(mask), np.arange(left, right))


def test_the_smallest_box_still_marks_a_pixel():
    for edge in (0.0, 0.5, 1 - 1e-9):
        assert masks.rasterize([Box(0, 0, 1.0, edge, edge, edge + 1e-9, edge + 1e-9)], 4, 4, frames=1).sum() == 1


def test_boxes_of_a_frame_add_up_and_other_frames_stay_empty():
    boxes = [Box(0, 0, 1.0, 0, 0, 0.5, 1), Box(0, 1, 1.0, 0.5, 0, 1, 1)]
    mask = masks.rasterize(boxes, 4, 4, frames=2)
    assert mask[0].all() and not mask[1].any()


def test_no_box_is_the_whole_frame_unless_told_otherwise():
    assert masks.rasterize([], 3, 5).all()
    assert masks.rasterize([], 3, 5).shape == (40, 3, 5)
    assert not masks.rasterize([], 3, 5, whole_frame_if_empty=False).any()


def test_boxes_are_chosen_by_phrase_and_confidence():
    boxes = random_boxes()
    chosen = masks.select_boxes(boxes, phrase_indices=[1], min_confidence=0.5)
    assert chosen and all(box.phrase_index == 1 and box.confidence >= 0.5 for box in chosen)
    assert masks.select_boxes(boxes) == boxes


def test_a_mask_blackens_numpy_and_torch_frames_alike():
    rng = np.random.default_rng(0)
    frames = rng.integers(1, 256, (2, 6, 5, 3), dtype=np.uint8)
    mask = rng.random((2, 6, 5)) > 0.5
    masked = masks.apply_mask(frames, mask)
    assert masked.dtype == np.uint8
    np.testing.assert_array_equal(masked[mask], frames[mask])
    assert not masked[~mask].any()
    channels_first = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
    torch_masked = masks.apply_mask(channels_first, torch.from_numpy(mask)[None])
    np.testing.assert_allclose(torch_masked[0].permute(0, 2, 3, 1) * 255, masked, atol=1e-4)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="resize the mask first"):
        masks.apply_mask(np.zeros((2, 6, 5, 3), np.uint8), np.ones((2, 3, 5), bool))
    with pytest.raises(ValueError, match="resize the mask first"):
        masks.apply_mask(np.zeros((2, 6, 5, 3), np.uint8), np.ones((1, 6, 5), bool))


def test_resizing_up_and_down_is_the_identity():
    mask = np.random.default_rng(0).random((2, 6, 5)) > 0.5
    np.testing.assert_array_equal(masks.resize_mask(masks.resize_mask(mask, 18, 20), 6, 5), mask)


def test_a_resized_box_is_the_box_rasterised_at_that_size():
    box = [Box(0, 0, 1.0, 0.25, 0.5, 0.75, 1.0)]
    small = masks.resize_mask(masks.rasterize(box, 64, 64, frames=1), 16, 16)
    np.testing.assert_array_equal(small, masks.rasterize(box, 16, 16, frames=1))


def test_one_picture_serves_all_frames_and_many_one_each():
    pictures = [np.full((4, 4), value, np.uint8) for value in (0, 200, 0)]
    assert masks.from_images(pictures[1:2], 2, 2, frames=3).all()
    np.testing.assert_array_equal(masks.from_images(pictures, 2, 2, frames=3)[:, 0, 0], [False, True, False])
    with pytest.raises(ValueError, match="2 pictures, expected 1 or one for each of the 4 frames of the video"):
        masks.from_images(pictures[:2], 2, 2, frames=4)


def test_masks_are_read_from_pictures_folders_and_boxes(tmp_path):
    left = np.zeros((8, 8, 4), np.uint8)
    left[:, :4] = (0, 0, 0, 255)
    Image.fromarray(left).save(tmp_path / "strokes.png")
    expected = np.zeros((2, 4, 4), bool)
    expected[:, :, :2] = True
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "strokes.png", 4, 4, frames=2), expected)
    (tmp_path / "frames").mkdir()
    for number, value in enumerate((0, 255)):
        Image.new("L", (8, 8), value).save(tmp_path / "frames" / f"{number}.png")
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "frames", 4, 4, frames=2)[:, 0, 0], [False, True])
    (tmp_path / "boxes.json").write_text(masks.boxes_to_json([Box(0, 0, 1.0, 0, 0, 0.5, 1)], frames=2))
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "boxes.json", 4, 4, frames=2)[0], expected[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[]]", "has 1 frames, expected 2"),
        ("{}", "no list of frames"),
        ("[[", "no JSON"),
        ("[[[0, 1.0, 0, 0, 1]], []]", "in frame 0, expected"),
        ("[[], [[0, 1.0, 0.5, 0, 0.5, 1]]]", "corners outside"),
    ],
)
def test_wrong_box_records_say_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        masks.boxes_from_json(text, frames=2)


def test_boxes_and_files_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="frame 40, the clip has frames 0 to 39"):
        masks.rasterize([Box(40, 0, 1.0, 0, 0, 1, 1)], 4, 4)
    with pytest.raises(ValueError, match="confidence outside"):
        Box(0, 0, 1.5, 0, 0, 1, 1)
    with pytest.raises(ValueError, match="has no picture"):
        masks.read_mask(tmp_path, 4, 4, frames=2)
    with pytest.raises(ValueError, match="neither a picture"):
        masks.read_mask(tmp_path / "mask.txt", 4, 4, frames=2)
    with pytest.raises(ValueError, match="type complex128"):
        masks.from_images([np.zeros((2, 2), complex)], 4, 4, frames=2)


def test_a_box_anywhere_covers_what_it_shares_a_part_with():
    rng = np.random.default_rng(0)
    height, width = 7, 11
    for _ in range(50):
        (x0, x1), (y0, y1) = np.sort(rng.random((2, 2)), axis=1)
        mask = masks.rasterize([Box(0, 0, 1.0, x0, y0, x1, y1)], height, width, frames=1)[0]
        columns = [x1 * width > column and x0 * width < column + 1 for column in range(width)]
        rows = [y1 * height > row and y0 * height < row + 1 for row in range(height)]
        np.testing.assert_array_equal(mask, np.outer(rows, columns))
