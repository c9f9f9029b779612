"""Scenes of shapes: where the shapes lie, what captions say of them, and their pixels."""

from __future__ import annotations

import itertools
import random

import pytest
from PIL import Image

from imcap.datasets import scenes


def many_scenes(count=400):
    known, _ = scenes.combinations(0)
    for index in range(count):
        rng = random.Random(f"a test's scenes {index}")
        yield rng, scenes.make_scene(rng, known, known[index % len(known)])


def test_shapes_lie_within_the_image_and_do_not_touch():
    for _, scene in many_scenes():
        for shape in scene.shapes:
            assert shape.radius <= min(
                shape.x, shape.y, scenes.SIDE - shape.x, scenes.SIDE - shape.y
            )
        for one, other in itertools.combinations(scene.shapes, 2):
            distance = abs(complex(one.x - other.x, one.y - other.y))
            assert distance > one.radius + other.radius + 2


def test_relations_are_those_of_the_dominant_axis():
    for _, scene in many_scenes():
        for one, other in itertools.pairwise(scene.shapes):
            along, across = other.x - one.x, abs(other.y - one.y)
            if scene.axis == "y":
                along, across = other.y - one.y, abs(other.x - one.x)
            assert along > 2 * across


def test_no_two_shapes_of_a_scene_share_colour_and_shape():
    for _, scene in many_scenes():
        assert len({(s.colour, s.kind) for s in scene.shapes}) == len(scene.shapes)


def test_small_and_large_are_told_apart_by_their_radius():
    (_, small), (large, _) = scenes.RADII["small"], scenes.RADII["large"]
    assert large > 1.4 * small


def test_captions_name_every_shape_and_their_relation():
    for rng, scene in many_scenes():
        first, *rest = scene.shapes
        for caption in scenes.describe(rng, scene):
            assert all(shape.words() in caption for shape in scene.shapes)
            if len(rest) != 1:
                continue
            in_order = caption.index(first.words()) < caption.index(rest[0].words())
            relation = ("left", "right") if scene.axis == "x" else ("above", "below")
            assert relation[0 if in_order else 1] in caption
            assert relation[1 if in_order else 0] not in caption


@pytest.mark.parametrize("colour", scenes.COLOURS)
@pytest.mark.parametrize("kind", scenes.SHAPES)
def test_the_drawn_pixels_have_the_shapes_colour(colour, kind, tmp_path):
    rgb = scenes.COLOURS[colour]
    shape = scenes.Shape("large", colour, kind, 48.0, 48.0, 15.0, 0.0, rgb)
    scene = scenes.Scene("x", (shape,), ((220, 220, 220),) * 4)
    path = tmp_path / "x.jpg"
    path.write_bytes(scenes.draw(scene))
    with Image.open(path) as image:
        seen = image.getpixel((48, 35) if kind == "ring" else (48, 46))
        corner = image.getpixel((2, 2))
    assert seen == pytest.approx(rgb, abs=25)
    assert corner == pytest.approx((220, 220, 220), abs=4)
