"""Whole pictures from interlaced ones, whose odd and even rows were taken at different times."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av.error
from av.filter import Graph
from av.video.frame import VideoFrame

_SMALLEST_SIDE = 3
"""bwdif refuses smaller pictures."""

_ANY_TIME_BASE = Fraction(1, 90000)
"""A filter graph needs one, but none of ours looks at times."""


def deinterlace(pictures: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Fill in every other row of the pictures that are marked as interlaced; the others stay as they are.

    One picture comes out for one that goes in, with its time: that of its first field.

    Source: FFmpeg's filter bwdif (the BBC's Weston 3-field filter, and yadif).
    """
    graph: Graph | None = None
    layout: tuple[int, int, str] | None = None
    all_pts: deque[int | None] = deque()
    for picture in pictures:
        changed = (picture.width, picture.height, picture.format.name)
        if changed != layout:
            if graph:
                graph.push(None)
                yield from _pull(graph, all_pts)
            layout, graph = changed, _graph(picture)
        if graph is None:
            yield picture
            continue
        all_pts.append(picture.pts)
        graph.push(picture)
        yield from _pull(graph, all_pts)
    if graph:
        graph.push(None)
        yield from _pull(graph, all_pts)


def _graph(picture: VideoFrame) -> Graph | None:
    """A filter for pictures like this one; None where they are too small for it."""
    if min(picture.width, picture.height) < _SMALLEST_SIDE:
        return None
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=_ANY_TIME_BASE
    )
    filtering = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(filtering)
    filtering.link_to(sink)
    graph.configure()
    return graph


def _pull(graph: Graph, all_pts: deque[int | None]) -> Iterator[VideoFrame]:
    while True:
        try:
            picture = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        # The filter counts in half ticks.
        picture.pts = all_pts.popleft()
        yield picture
