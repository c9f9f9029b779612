"""Scenes of coloured shapes: their content, their captions and their drawing."""

from __future__ import annotations

import cmath
import dataclasses
import io
import itertools
import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

SIDE = 96
COLOURS = {
    "red": (212, 40, 42),
    "orange": (242, 140, 28),
    "yellow": (240, 214, 40),
    "green": (44, 158, 68),
    "blue": (40, 92, 212),
    "purple": (142, 62, 176),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
# Radii in pixels of the circle around a shape; the two ranges are far apart.
RADII = {"small": (8.0, 9.5), "large": (14.0, 15.5)}
CAPTIONS = 5

# A colour and a shape.
Pair = tuple[str, str]

_SCALE = 3  # Drawn larger and averaged down, for smooth edges.
_GAP, _MARGIN = 3.0, 2.0
_RELATIONS = {"x": ("to the left of", "to the right of"), "y": ("above", "below")}
_ORDERS = {"x": "from left to right", "y": "from top to bottom"}
_LINES = {"x": "row", "y": "column"}
_ONE = (
    "{a}",
    "there is {a}",
    "a picture of {a}",
    "{a} on a plain background",
    "there is {a} on a plain background",
    "a picture of {a} on a plain background",
)
_TWO = (
    "{a} {before} {b}",
    "{b} {after} {a}",
    "there is {a} {before} {b}",
    "there is {b} {after} {a}",
    "{a} is {before} {b}",
    "{b} is {after} {a}",
    "a picture of {a} {before} {b}",
)
_THREE = (
    "{a}, {b} and {c} {order}",
    "there is {a}, {b} and {c} {order}",
    "a picture of {a}, {b} and {c} {order}",
    "{order} there is {a}, {b} and {c}",
    "{a}, {b} and {c} in a {line}",
    "{b} is between {a} and {c}",
)


@dataclasses.dataclass(frozen=True)
class Shape:
    """One shape: its words, its centre and radius in pixels, its angle in degrees, its RGB.

    `kind` is one of SHAPES.
    """

    size: str
    colour: str
    kind: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[int, int, int]

    def words(self) -> str:
        """Returns the noun phrase, such as `a small red circle`."""
        return f"a {self.size} {self.colour} {self.kind}"


@dataclasses.dataclass(frozen=True)
class Scene:
    """One to three shapes in a line.

    Attributes:
      axis: `x` or `y`, along which the shapes follow each other.
      shapes: from left to right or from top to bottom.
      corners: the background's RGB at the four corners, row by row.
    """

    axis: str
    shapes: tuple[Shape, ...]
    corners: tuple[tuple[int, int, int], ...]


def _polygon(corners: int, first: float, inner: float = 0.0) -> list[complex]:
    """Returns corners on the unit circle from the angle `first` in degrees (y points down); with
    `inner`, corners at that radius between them."""
    step = 360 / corners
    points = []
    for index in range(corners):
        points.append(cmath.exp(1j * math.radians(first + index * step)))
        if inner:
            points.append(inner * cmath.exp(1j * math.radians(first + (index + 0.5) * step)))
    return points


def _plus(arm: float) -> list[complex]:
    """Returns the twelve corners of a plus sign whose arms are `2 * arm` wide."""
    quarter = [complex(arm, -arm), complex(0.95, -arm), complex(0.95, arm)]
    return [point * 1j**turn for turn in range(4) for point in quarter]


_OUTLINES = {
    "square": _polygon(4, 45),
    "triangle": _polygon(3, -90),
    "star": _polygon(5, -90, inner=0.42),
    "cross": _plus(0.3),
}


def combinations(seed: int) -> tuple[list[Pair], list[Pair]]:
    """Returns the (colour, shape) pairs to train on and those held out.

    Of every colour and of every shape one pair is held out for the test split. The first six of the
    others have every colour and every shape in them.
    """
    shapes = list(SHAPES)
    random.Random(f"{seed}/combinations").shuffle(shapes)
    turned = [
        [(colour, shapes[(index + turn) % len(shapes)]) for index, colour in enumerate(COLOURS)]
        for turn in range(len(shapes))
    ]
    return [pair for pairs in turned[1:] for pair in pairs], turned[0]


def make_scene(rng: random.Random, pairs: Sequence[Pair], first: Pair) -> Scene:
    """Returns a scene that has `first` in it and otherwise other members of `pairs`.

    A third of the scenes has one shape, half of them two, a sixth three.
    """
    count = rng.choice((1, 1, 2, 2, 2, 3))
    chosen = [first, *rng.sample([pair for pair in pairs if pair != first], count - 1)]
    rng.shuffle(chosen)
    sizes = [rng.choice(tuple(RADII)) for _ in chosen]
    if sizes.count("large") == 3:  # Three large ones do not fit side by side.
        sizes[rng.randrange(3)] = "small"
    radii = [rng.uniform(*RADII[size]) for size in sizes]
    axis = rng.choice(("x", "y"))
    centres = _place(rng, radii) if axis == "x" else [(x, y) for y, x in _place(rng, radii)]
    shapes = tuple(
        Shape(size, *pair, *centre, radius, rng.uniform(-12, 12), _jitter(rng, COLOURS[pair[0]]))
        for size, pair, centre, radius in zip(sizes, chosen, centres, radii, strict=True)
    )
    grey = [rng.randint(205, 240)] * 3
    return Scene(axis, shapes, tuple(_jitter(rng, grey) for _ in range(4)))


def describe(rng: random.Random, scene: Scene) -> tuple[str, ...]:
    """Returns five captions of the scene, each of another template."""
    before, after = _RELATIONS[scene.axis]
    templates = (_ONE, _TWO, _THREE)[len(scene.shapes) - 1]
    words = dict(zip("abc", (shape.words() for shape in scene.shapes), strict=False))
    words |= {"before": before, "after": after}
    words |= {"order": _ORDERS[scene.axis], "line": _LINES[scene.axis]}
    return tuple(template.format(**words) for template in rng.sample(templates, CAPTIONS))


def draw(scene: Scene) -> bytes:
    """Returns the scene as a JPEG of `SIDE` by `SIDE` pixels."""
    corners = bytes(value for corner in scene.corners for value in corner)
    image = Image.frombytes("RGB", (2, 2), corners)
    image = image.resize((SIDE * _SCALE, SIDE * _SCALE), Image.Resampling.BILINEAR)
    canvas = ImageDraw.Draw(image)
    for shape in scene.shapes:
        _draw_shape(canvas, shape)
    buffer = io.BytesIO()
    image.reduce(_SCALE).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def _place(rng: random.Random, radii: Sequence[float]) -> list[tuple[float, float]]:
    """Returns each centre's coordinates (along, across) the line.

    The shapes do not overlap along the line; across it they have a small offset.
    """
    room = SIDE - 2 * _MARGIN - _GAP * (len(radii) - 1) - 2 * sum(radii)
    cuts = sorted(rng.uniform(0, room) for _ in radii)
    along, edge = [], _MARGIN
    for radius, cut, previous in zip(radii, cuts, [0.0, *cuts], strict=False):
        along.append(edge + cut - previous + radius)
        edge = along[-1] + radius + _GAP
    # Offsets across the line stay below a fifth of the distance, so the relation is clear.
    offset = min([10.0, *(0.2 * (far - near) for near, far in itertools.pairwise(along))])
    inset = _MARGIN + max(radii) + offset
    middle = rng.uniform(inset, SIDE - inset)
    return [(place, middle + rng.uniform(-offset, offset)) for place in along]


def _jitter(rng: random.Random, rgb: Sequence[int], amount: int = 14) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, c + rng.randint(-amount, amount))) for c in rgb)
    return red, green, blue


def _draw_shape(canvas: ImageDraw.ImageDraw, shape: Shape) -> None:
    x, y, radius = shape.x * _SCALE, shape.y * _SCALE, shape.radius * _SCALE
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape.kind == "circle":
        canvas.ellipse(box, fill=shape.rgb)
    elif shape.kind == "ring":
        canvas.ellipse(box, outline=shape.rgb, width=round(0.38 * radius))
    else:
        turn = cmath.exp(1j * math.radians(shape.angle))
        points = (complex(x, y) + radius * turn * point for point in _OUTLINES[shape.kind])
        canvas.polygon([(point.real, point.imag) for point in points], fill=shape.rgb)
