"""What is drawn, where, and what is left alone."""

from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from dkpvid.drawing import Annotator, DrawStyle, keypoint_colors
from dkpvid.errors import UsageError
from dkpvid.structures import Track

WIDTH, HEIGHT = 160, 120
ONLY_POINTS = DrawStyle(skeleton=False)
ONLY_EDGES = DrawStyle(points=False)
ONLY_TRAIL = DrawStyle(points=False, skeleton=False, trail=True)
ONLY_LABELS = DrawStyle(points=False, skeleton=False, labels=True)


def make_track(xy: object, confidence: float = 1.0, fps: float = 10.0) -> Track:
    places = np.array(xy, dtype=float)
    frames, keypoints = places.shape[:2]
    return Track(
        index=np.arange(frames),
        time_seconds=np.arange(frames) / fps,
        xy=places,
        confidence=np.full((frames, keypoints), confidence),
        covariance=np.ones((frames, keypoints, 3)),
    )


def draw(
    track: Track,
    style: DrawStyle,
    skeleton: tuple[tuple[int, int, float], ...] = (),
    image: ndarray | None = None,
    position: int = -1,
) -> ndarray:
    canvas = np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8) if image is None else image
    names = [f"k{i}" for i in range(track.num_keypoints)]
    annotator = Annotator(names, skeleton, canvas.shape[1], canvas.shape[0], style)
    return annotator.draw(canvas, track, position % len(track))


def changed(drawn: ndarray) -> ndarray:
    """(x, y) of the pixels that are no longer grey."""
    return np.argwhere((drawn != 128).any(axis=2))[:, ::-1]


def test_points_have_their_colour_at_their_place() -> None:
    places = [[20, 30], [100, 90], [0, 0], [WIDTH - 1, HEIGHT - 1]]
    drawn = draw(make_track([places]), ONLY_POINTS)
    for (x, y), color in zip(places, keypoint_colors(4), strict=True):
        np.testing.assert_allclose(drawn[y, x], color, atol=1)


def test_only_the_neighbourhood_changes() -> None:
    drawn = draw(make_track([[[40, 50]]]), ONLY_POINTS)
    places = changed(drawn)
    assert len(places) > 8
    assert np.abs(places - [40, 50]).max() <= 5


@pytest.mark.parametrize("place", [(40.0, 50.0), (40.25, 50.5), (40.5, 49.75)])
def test_a_point_is_centred_to_a_fraction_of_a_pixel(place: tuple[float, float]) -> None:
    drawn = draw(make_track([[place]]), ONLY_POINTS, image=np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    weight = drawn.astype(float)[..., 0]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    centre = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
    # The dark outline is not exactly black, so the ramp adds a little to one side.
    np.testing.assert_allclose(centre, place, atol=0.05)


def test_uncertain_points_are_hollow() -> None:
    drawn = draw(
        make_track([[[40, 50]]], confidence=0.1), ONLY_POINTS, image=np.full((600, 800, 3), 128, np.uint8)
    )
    assert (drawn[50, 40] == 128).all()
    assert len(changed(drawn)) > 20


def test_the_input_is_not_changed(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    before = image.copy()
    track = make_track(rng.uniform(0, 100, (9, 4, 2)))
    places = track.xy.copy()
    drawn = draw(track, DrawStyle(trail=True, labels=True), ((0, 1, 1.0),), image)
    assert (image == before).all()
    assert (track.xy == places).all()
    assert (drawn != before).any()
    assert drawn.flags.c_contiguous


def test_a_view_of_a_larger_image_is_fine(rng: np.random.Generator) -> None:
    track = make_track([[[20, 30], [60, 80]]])
    image = np.full((HEIGHT, WIDTH * 2, 3), 128, np.uint8)[:, ::2]
    assert (draw(track, DrawStyle(), ((0, 1, 1.0),), image) == draw(track, DrawStyle(), ((0, 1, 1.0),))).all()


@pytest.mark.parametrize(
    "place", [(np.nan, np.nan), (np.nan, 5), (np.inf, 5), (-1e9, 1e9), (WIDTH + 50, 5), (5, -50)]
)
def test_what_is_missing_or_outside_is_not_drawn(place: tuple[float, float]) -> None:
    track = make_track([[place]] * 5)
    for style in (ONLY_POINTS, ONLY_TRAIL, ONLY_LABELS):
        assert len(changed(draw(track, style))) == 0


def test_a_missing_end_draws_no_edge() -> None:
    track = make_track([[[20, 30], [np.nan, np.nan], [60, 80]]])
    assert len(changed(draw(track, ONLY_EDGES, ((0, 1, 1.0), (1, 2, 1.0))))) == 0


def test_weak_edges_are_left_out_and_strong_ones_are_brighter() -> None:
    track = make_track([[[20, 20], [140, 20], [20, 60], [140, 60], [20, 100], [140, 100]]])
    drawn = draw(track, ONLY_EDGES, ((0, 1, 0.02), (2, 3, 0.008), (4, 5, 0.005)))
    strong, weak, below = (drawn[y, 80].astype(int).sum() for y in (20, 60, 100))
    assert strong > weak > 3 * 128
    assert below == 3 * 128


def test_no_edges_at_all() -> None:
    assert len(changed(draw(make_track([[[20, 20]]]), ONLY_EDGES))) == 0
    assert len(changed(draw(make_track([[[20, 20], [50, 50]]]), ONLY_EDGES, ((0, 1, 0.0),)))) == 0


@pytest.mark.parametrize(
    "ends", [[(20, 60), (140, 60)], [(80, 10), (80, 110)], [(130, 20), (30, 100)], [(30, 20), (60, 110)]]
)
def test_an_edge_runs_from_end_to_end_in_both_directions(ends: list[tuple[int, int]]) -> None:
    forth = draw(make_track([ends]), ONLY_EDGES, ((0, 1, 1.0),))
    back = draw(make_track([ends[::-1]]), ONLY_EDGES, ((0, 1, 1.0),))
    assert (forth == back).all()
    for share in np.linspace(0, 1, 11):
        x, y = np.rint(np.array(ends[0]) * (1 - share) + np.array(ends[1]) * share).astype(int)
        assert forth[y, x].sum() != 3 * 128
    # Nothing strays from the line.
    start, direction = np.array(ends[0]), np.subtract(ends[1], ends[0]) / np.linalg.norm(np.subtract(*ends))
    offset = changed(forth) - start
    assert np.abs(offset[:, 0] * direction[1] - offset[:, 1] * direction[0]).max() < 3


def test_an_edge_that_leaves_the_frame_is_cut() -> None:
    drawn = draw(make_track([[[100, 60], [WIDTH + 40, 60]]]), ONLY_EDGES, ((0, 1, 1.0),))
    assert drawn[60, WIDTH - 1].sum() > 3 * 128
    assert (drawn[60, :95] == 128).all()


def test_trail_shows_the_last_second_and_fades() -> None:
    track = make_track([[[5 * i, 60]] for i in range(31)])  # 10 fps: three seconds
    drawn = draw(track, ONLY_TRAIL, position=30).astype(int)
    difference = np.abs(drawn[60] - 128).sum(axis=1)
    assert (difference[:95] == 0).all()
    assert difference[145] > difference[125] > difference[105] > 0
    assert (draw(track, ONLY_TRAIL, position=0) == 128).all(), "no past, no trail"
    part = track[10:31]
    assert (draw(part, ONLY_TRAIL, position=20) == drawn).all()


def test_trail_has_gaps_where_there_was_nothing() -> None:
    places = np.array([[[10.0 * i, 60.0]] for i in range(8)])
    places[4] = np.nan
    drawn = draw(make_track(places), ONLY_TRAIL)
    assert (drawn[60, 35:46] == 128).all()
    assert (drawn[60, 55] != 128).any()
    assert (drawn[60, 25] != 128).any()


def test_trail_of_a_fast_camera_is_drawn_through_fewer_places() -> None:
    track = make_track([[[x, 60]] for x in np.linspace(10, 150, 1001)], fps=1000)
    drawn = draw(track, ONLY_TRAIL)
    assert (drawn[60, 30:145] != 128).any(axis=1).all()


@pytest.mark.parametrize("x", [20, WIDTH - 3])
def test_labels_stand_beside_the_point_inside_the_frame(x: int) -> None:
    places = changed(draw(make_track([[[x, 60]]]), ONLY_LABELS))
    assert len(places) > 20
    assert np.abs(places[:, 1] - 60).max() < 15
    assert (places[:, 0] > x).all() if x == 20 else (places[:, 0] < x).all()


def test_a_label_larger_than_the_frame_is_cut() -> None:
    tiny = np.full((4, 6, 3), 128, np.uint8)
    assert draw(make_track([[[2, 2]]]), ONLY_LABELS, image=tiny).shape == (4, 6, 3)


def test_a_moving_region_is_a_thin_rectangle() -> None:
    """Half a pixel beyond its outer pixels, in the frame that it belongs to."""
    track = replace(make_track(np.full((2, 1, 2), np.nan)), region=np.array([[0, 0, 5, 5], [20, 10, 60, 40]]))
    image = np.full((80, 100, 3), 128, np.uint8)
    is_changed = (Annotator(["a"], [], 100, 80, DrawStyle()).draw(image, track, 1) != image).any(axis=2)
    rows, columns = np.nonzero(is_changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 50, 19, 80)
    assert is_changed[10:50, 20].all() and not is_changed[12:48, 22:78].any()


def test_colours_are_distinct_and_stable() -> None:
    colors = keypoint_colors(16)
    assert len(np.unique(colors, axis=0)) == 16
    assert (keypoint_colors(5) == colors[:5]).all()
    assert ((colors >= 0) & (colors <= 255)).all()
    assert keypoint_colors(256).shape == (256, 3)


def test_style_names() -> None:
    assert DrawStyle.from_names("points,skeleton,joints") == DrawStyle()
    assert DrawStyle.from_names("trail, labels") == DrawStyle(False, False, True, True, joints=False)
    with pytest.raises(
        UsageError, match=r"cannot draw 'bones'; choose from points,skeleton,trail,labels,joints"
    ):
        DrawStyle.from_names("points,bones")
    with pytest.raises(UsageError, match="cannot draw ''"):
        DrawStyle.from_names("")
