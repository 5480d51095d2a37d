"""Draw keypoints and learned edges on one frame.

Everything is a capsule: a line with round ends, and a point is a line of no length. Capsules are painted from
their exact distance field, so edges are smooth and positions are exact to a fraction of a pixel, without
drawing at a larger size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from dkpvid.errors import UsageError
from dkpvid.shapes import Float, Int, UInt8
from dkpvid.structures import Track

# Okabe & Ito's palette, in an order that keeps neighbours far apart. Further keypoints take the same hues
# lighter, then darker: lightness is what every kind of colour vision tells apart.
_HUES = ("#E69F00", "#56B4E9", "#D55E00", "#009E73", "#F0E442", "#CC79A7", "#0072B2")
_LIGHT = np.array([250, 250, 250], dtype=np.float32)
_DARK = np.array([20, 20, 24], dtype=np.float32)
# A trail is drawn through at most so many places, so that a 240 fps video takes no longer than a 30 fps one.
_TRAIL_PLACES = 32


@dataclass(frozen=True)
class DrawStyle:
    """What is drawn."""

    points: bool = True
    skeleton: bool = True
    trail: bool = False
    labels: bool = False
    joints: bool = True
    """Of a track that has named joints: draw them, and the limbs between them."""
    min_edge_weight: float = 0.3
    """Edges below this share of the strongest one are left out."""
    trail_seconds: float = 1.0
    min_confidence: float = 0.3
    """Keypoints below are drawn hollow, and without trail."""

    @classmethod
    def from_names(cls, names: str) -> "DrawStyle":
        """Read a list such as "points,skeleton,trail,labels,joints".

        Raises:
            UsageError: an unknown name.

        >>> DrawStyle.from_names("points,trail").skeleton
        False
        """
        allowed = ("points", "skeleton", "trail", "labels", "joints")
        chosen = [name.strip() for name in names.split(",")]
        for name in chosen:
            if name not in allowed:
                raise UsageError(f"cannot draw {name!r}; choose from {','.join(allowed)}")
        return cls(**{name: name in chosen for name in allowed})


@dataclass(frozen=True, eq=False)
class _Capsules:
    """Lines with round ends, to be painted as one layer; sizes in pixels."""

    start: Float[ndarray, "capsule 2"]
    end: Float[ndarray, "capsule 2"]
    radius: Float[ndarray, " capsule"]
    color: Float[ndarray, "capsule 3"]
    opacity: Float[ndarray, " capsule"]
    hole: Float[ndarray, " capsule"]
    """Radius of the part that stays open; -1 for none."""
    outline: float
    """Width of the ring around it."""


class Annotator:
    """Draws the same keypoints on frame after frame."""

    def __init__(
        self,
        keypoints: Sequence[str],
        skeleton: Sequence[tuple[int, int, float]],
        width: int,
        height: int,
        style: DrawStyle,
    ) -> None:
        self._style = style
        self._colors = keypoint_colors(len(keypoints))
        self._radius = max(2.0, 0.008 * min(width, height))
        edges = np.array(skeleton, dtype=float).reshape(-1, 3)
        strength = edges[:, 2] / edges[:, 2].max(initial=1e-12)
        # Strong edges last: where edges cross, the later one of equals is on top.
        order = np.argsort(strength, kind="stable")
        order = order[strength[order] >= style.min_edge_weight]
        self._edges = edges[order, :2].astype(int)
        self._strength = strength[order]
        size = max(10, round(2.6 * self._radius))
        self._labels = [_render_text(name, size) for name in keypoints] if style.labels else []

    def draw(
        self, image: UInt8[ndarray, "height width 3"], track: Track, position: int
    ) -> UInt8[ndarray, "height width 3"]:
        """Draw one frame of the track on a copy of its image.

        Args:
            image: The frame, RGB.
            track: In pixels of the image, with the frames before for the trail. NaN keypoints and what lies
                outside the image are not drawn.
            position: Of the frame in the track, which is not its `index` when the track is a part.
        """
        canvas = image.copy()
        if track.region is not None:
            _paint(canvas, self._window(track.region[position]))
        xy, confidence = track.xy[position], np.nan_to_num(track.confidence[position])
        if self._style.trail:
            _paint(canvas, self._trail(track, position))
        if self._style.skeleton:
            _paint(canvas, self._skeleton(xy, confidence))
        if self._style.points:
            _paint(canvas, self._points(xy, confidence))
        for label, place in zip(self._labels, xy, strict=False):
            if np.isfinite(place).all():
                _paint_label(canvas, label, place, gap=1.8 * self._radius)
        return canvas

    def _window(self, region: Int[ndarray, "4"]) -> _Capsules:
        x, y, width, height = region.tolist()
        # Pixel edges lie half a pixel beyond the outer pixels' centres.
        left, top, right, bottom = x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        return _Capsules(
            start=corners,
            end=np.roll(corners, -1, axis=0),
            radius=np.full(4, 0.12 * self._radius),
            color=np.tile(_LIGHT, (4, 1)),
            opacity=np.full(4, 0.8),
            hole=np.full(4, -1.0),
            outline=0.75,
        )

    def _points(self, xy: Float[ndarray, "keypoint 2"], confidence: Float[ndarray, " keypoint"]) -> _Capsules:
        is_certain = confidence >= self._style.min_confidence
        radius = self._radius * np.where(is_certain, 0.8 + 0.2 * confidence, 1.1)
        return _Capsules(
            start=xy,
            end=xy,
            radius=radius,
            color=self._colors,
            opacity=0.75 + 0.25 * confidence,
            hole=np.where(is_certain, -1.0, 0.6 * radius),
            outline=max(1.0, 0.25 * self._radius),
        )

    def _skeleton(
        self, xy: Float[ndarray, "keypoint 2"], confidence: Float[ndarray, " keypoint"]
    ) -> _Capsules:
        trust = confidence[self._edges].min(axis=1)
        return _Capsules(
            start=xy[self._edges[:, 0]],
            end=xy[self._edges[:, 1]],
            radius=self._radius * (0.15 + 0.2 * self._strength),
            color=np.tile(_LIGHT, (len(self._edges), 1)),
            opacity=(0.25 + 0.7 * self._strength) * (0.4 + 0.6 * trust),
            hole=np.full(len(self._edges), -1.0),
            outline=max(0.75, 0.12 * self._radius),
        )

    def _trail(self, track: Track, position: int) -> _Capsules:
        now = track.time_seconds[position]
        first = int(np.searchsorted(track.time_seconds[:position], now - self._style.trail_seconds))
        step = -(-(position - first) // _TRAIL_PLACES) or 1
        # Always the same frames of the video, or the trail would wobble as it moves on.
        places = [i for i in range(first, position) if track.index[i] % step == 0] + [position]
        xy = track.xy[places]
        xy[track.confidence[places] < self._style.min_confidence] = np.nan
        age = (now - track.time_seconds[places[:-1]]) / self._style.trail_seconds
        youth = np.repeat(np.clip(1 - age, 0, 1), xy.shape[1])
        return _Capsules(
            start=xy[:-1].reshape(-1, 2),
            end=xy[1:].reshape(-1, 2),
            radius=self._radius * (0.1 + 0.3 * youth),
            color=np.tile(self._colors, (len(places) - 1, 1)),
            opacity=0.85 * youth,
            hole=np.full(len(youth), -1.0),
            outline=0.0,
        )


def keypoint_colors(num_keypoints: int) -> Float[ndarray, "keypoint 3"]:
    """RGB of each keypoint, 0..255; the first ones are the same whatever the number."""
    hues = np.array([[int(hue[i : i + 2], 16) for i in (1, 3, 5)] for hue in _HUES], dtype=float)
    palette = np.concatenate([hues, hues + 0.5 * (255 - hues), 0.6 * hues])
    return palette[np.arange(num_keypoints) % len(palette)]


def _paint(canvas: UInt8[ndarray, "height width 3"], capsules: _Capsules) -> None:
    """Blend one layer into the canvas, in place. Where capsules overlap, the most opaque one is seen."""
    height, width = canvas.shape[:2]
    pixel, which, distance = _pixels_near(capsules, width, height)
    radius = capsules.radius.astype(np.float32)[which]
    # A ramp of one pixel: half covered where the border passes through the pixel's centre.
    ink = np.clip(radius + 0.5 - distance, 0, 1)
    alpha = np.clip(radius + (capsules.outline + 0.5) - distance, 0, 1)
    alpha *= np.clip(distance - capsules.hole.astype(np.float32)[which] + 0.5, 0, 1)
    alpha *= capsules.opacity.astype(np.float32)[which]
    # Of several values for one pixel numpy keeps the last; among equals, that is the later capsule.
    order = np.argsort((alpha * 255).astype(np.uint8), kind="stable")
    pixel, ink, alpha = pixel[order], ink[order, None], alpha[order, None]
    # `take` gathers rows three times as fast as an index does.
    color = capsules.color.astype(np.float32).take(which[order], axis=0)
    color = _DARK + (color - _DARK) * ink
    flat = canvas.reshape(-1, 3)
    under = flat.take(pixel, axis=0)
    flat[pixel] = (under + (color - under) * alpha + 0.5).astype(np.uint8)


def _pixels_near(
    capsules: _Capsules, width: int, height: int
) -> tuple[Int[ndarray, " pixel"], Int[ndarray, " pixel"], Float[ndarray, " pixel"]]:
    """The pixels that capsules touch: position in the flat image, which capsule, distance from its axis.

    A capsule that is not finite, or reaches more than a frame's size beyond the frame, has none.
    """
    size = np.array([width, height])
    ends = np.stack([capsules.start, capsules.end], axis=1)
    # Comparing with NaN is false.
    is_near = ((ends > -size) & (ends < 2 * size)).all(axis=(1, 2))
    index = np.flatnonzero(is_near)
    reach = capsules.radius[index] + capsules.outline + 0.5
    ends = ends[index]
    # Walk along the axis on which the line is longer, upwards, and look across it at every step.
    is_steep = np.abs(ends[:, 1, 1] - ends[:, 0, 1]) > np.abs(ends[:, 1, 0] - ends[:, 0, 0])
    ends[is_steep] = ends[is_steep][..., ::-1]
    is_backward = ends[:, 0, 0] > ends[:, 1, 0]
    ends[is_backward] = ends[is_backward][:, ::-1]
    first = np.ceil(ends[:, 0, 0] - reach).astype(np.int64)
    count = np.floor(ends[:, 1, 0] + reach).astype(np.int64) - first + 1
    line = np.repeat(np.arange(len(index)), count)
    along = np.arange(len(line)) - np.repeat(np.cumsum(count) - count - first, count)

    (x, y), (dx, dy) = ends[:, 0].T, (ends[:, 1] - ends[:, 0]).T
    slope = dy / np.maximum(dx, 1e-9)
    u = along - x[line]
    middle = y[line] + slope[line] * np.clip(u, 0, dx[line])
    half = int(np.ceil((reach * np.hypot(1, slope)).max(initial=0)))
    across = np.rint(middle).astype(np.int64)[:, None] + np.arange(-half, half + 1)

    u, v = u.astype(np.float32)[:, None], (across - y[line, None]).astype(np.float32)
    dx, dy = dx.astype(np.float32)[line, None], dy.astype(np.float32)[line, None]
    nearest = np.clip((u * dx + v * dy) / np.maximum(dx * dx + dy * dy, np.float32(1e-9)), 0, 1)
    squared = (u - nearest * dx) ** 2 + (v - nearest * dy) ** 2
    step, side = np.nonzero(squared < (reach**2)[line, None])
    line, along, across, distance = line[step], along[step], across[step, side], np.sqrt(squared[step, side])

    steep = is_steep[line]
    column, row = np.where(steep, across, along), np.where(steep, along, across)
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return (row * width + column)[is_inside], index[line[is_inside]], distance[is_inside]


@dataclass(frozen=True, eq=False)
class _Label:
    """A word, ready to be blended."""

    color: Float[ndarray, "height width 3"]
    alpha: Float[ndarray, "height width 1"]


def _render_text(text: str, size: int) -> _Label:
    font = ImageFont.load_default(size)
    stroke = max(1, size // 8)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, stroke_width=stroke))
    layers = []
    for width in (0, stroke):
        layer = Image.new("L", (max(1, right - left), max(1, bottom - top)))
        ImageDraw.Draw(layer).text((-left, -top), text, fill=255, font=font, stroke_width=width)
        layers.append(np.asarray(layer, dtype=np.float32)[..., None] / 255)
    ink, alpha = layers
    return _Label(color=ink * _LIGHT + (1 - ink) * _DARK, alpha=alpha)


def _paint_label(
    canvas: UInt8[ndarray, "height width 3"], label: _Label, place: Float[ndarray, "2"], gap: float
) -> None:
    """Write to the right of a place, or to the left where the frame ends."""
    frame_height, frame_width = canvas.shape[:2]
    height, width = label.alpha.shape[:2]
    if not (0 <= place[0] < frame_width and 0 <= place[1] < frame_height):
        return
    left = round(place[0] + gap)
    if left + width > frame_width:
        left = max(0, round(place[0] - gap) - width)
    top = min(max(0, round(place[1] - height / 2)), max(0, frame_height - height))
    under = canvas[top : top + height, left : left + width]
    color, alpha = (part[: under.shape[0], : under.shape[1]] for part in (label.color, label.alpha))
    under[...] = (under + (color - under) * alpha + 0.5).astype(np.uint8)
