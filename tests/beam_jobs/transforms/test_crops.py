"""Random crops: the same for the same seed, image and number, within their limits."""

from __future__ import annotations

import landscapes
import numpy as np
import pytest
import tensorflow as tf

from beam_jobs.transforms.crops import NO_CROPS, NUMBERS, Crops, cut
from imcap import images

PLAIN = (1, 1, 0, 0, 0, 1, 1, 1)  # The whole image as it is.


def crop_of(image: np.ndarray, size: int = 32, **changes: float) -> np.ndarray:
    names = ("height", "width", "top", "left", "flip", "brightness", "contrast", "saturation")
    drawn = {**dict(zip(names, PLAIN, strict=True)), **changes}
    return cut(tf.constant(image), tf.constant([*drawn.values()], tf.float32), size).numpy()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.asarray(landscapes.draw(0, (80, 60)))


def test_what_is_drawn_never_changes():
    """Records of two versions of imcap must not mix other crops."""
    (drawn,) = Crops(1, seed=0, flip=True).draw("b.jpg")
    expected = [0.923366, 0.756921, 0.719232, 0.358914, 1, 0.817783, 1.118160, 1.181398]
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


def test_a_crop_depends_on_seed_image_and_number_alone():
    crops = Crops(3, seed=5, flip=True)
    drawn = crops.draw("a.jpg")
    np.testing.assert_array_equal(Crops(9, seed=5, flip=True).draw("a.jpg")[:3], drawn)
    others = (*crops.draw("b.jpg"), *Crops(3, seed=6, flip=True).draw("a.jpg"))
    assert len({tuple(row) for row in (*drawn, *others)}) == 9
    assert NO_CROPS.draw("a.jpg").shape == (0, NUMBERS)


def test_crops_are_within_the_documented_limits():
    rows = np.concatenate([Crops(50, flip=True).draw(f"{n}.jpg") for n in range(20)])
    height, width, top, left, flip, *colours = rows.T
    assert max(height.max(), width.max()) <= 1
    area, aspect = height * width, width / height
    assert 0.54 < area.min() < 0.6 and 0.95 < area.max() <= 1
    assert 0.8 <= aspect.min() < 0.82 and 1.22 < aspect.max() <= 1.25001
    for start in (top, left):
        assert 0 <= start.min() < 0.01 and 0.99 < start.max() <= 1
    assert set(flip) == {0, 1} and 0.45 < flip.mean() < 0.55
    for colour in colours:
        assert 0.8 <= colour.min() < 0.81 and 1.19 < colour.max() <= 1.20001
    assert not Crops(50).draw("0.jpg")[:, 4].any()  # Nothing is flipped unasked.


def test_a_crop_of_the_whole_image_is_the_resized_image(image):
    expected = images.resize(tf.constant(image), 32)
    np.testing.assert_array_equal(crop_of(image), np.round(expected))
    np.testing.assert_array_equal(crop_of(image, flip=1), np.round(expected[:, ::-1]))


def test_a_crop_is_cut_before_it_is_resized(image):
    found = crop_of(image, height=0.5, width=0.75, top=0.5, left=0.999999)
    expected = images.resize(tf.constant(image[15:45, 20:80]), 32)
    np.testing.assert_array_equal(found, np.round(expected))
    # An image of one pixel, and the last place of all.
    dot = np.full((1, 1, 3), 7, np.uint8)
    assert (crop_of(dot, 4, height=0.6, width=0.6, top=1, left=1) == 7).all()


def test_colours_change_within_0_to_255(image):
    plain = crop_of(image).astype(float)
    brighter = crop_of(image, brightness=1.2).astype(float)
    np.testing.assert_allclose(brighter, np.minimum(plain * 1.2, 255), atol=1.2)
    flat, vivid = crop_of(image, contrast=0.8), crop_of(image, contrast=1.2)
    assert flat.std() < 0.85 * plain.std() and vivid.std() > 1.05 * plain.std()
    assert abs(flat.mean() - plain.mean()) < 12
    grey, deep = crop_of(image, saturation=0.8), crop_of(image, saturation=1.2)
    spread = [np.ptp(found.astype(float), axis=2).mean() for found in (grey, plain, deep)]
    assert spread[0] < 0.85 * spread[1] and spread[2] > 1.1 * spread[1]
