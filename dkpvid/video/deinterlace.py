"""Whole pictures from interlaced ones, whose odd and even rows were taken at different times."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av.error
from av.filter import Graph
from av.video.frame import VideoFrame

from dkpvid.video.clock import Picture

_SMALLEST_SIDE = 3
"""bwdif refuses smaller pictures."""

_ANY_TIME_BASE = Fraction(1, 90000)
"""A filter graph needs one, but this filter does not look at times."""


def deinterlace(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Fill in every other row of the pictures that are marked as interlaced; the others stay as they are.

    One picture comes out for one that goes in, with its time.

    Source: FFmpeg's filter bwdif (the BBC's Weston 3-field filter, and yadif).
    """
    graph: Graph | None = None
    layout: tuple[int, int, str] | None = None
    waiting: deque[Picture] = deque()
    for picture in pictures:
        frame = picture.frame
        if (frame.width, frame.height, frame.format.name) != layout:
            if graph:
                yield from _push(graph, None, waiting)
            layout, graph = (frame.width, frame.height, frame.format.name), _graph(frame)
        if graph is None:
            yield picture
        else:
            waiting.append(picture)
            yield from _push(graph, frame, waiting)
    if graph:
        yield from _push(graph, None, waiting)


def _graph(frame: VideoFrame) -> Graph | None:
    """A filter for frames like this one; None where they are too small for it."""
    if min(frame.width, frame.height) < _SMALLEST_SIDE:
        return None
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=_ANY_TIME_BASE
    )
    filtering = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(filtering)
    filtering.link_to(sink)
    graph.configure()
    return graph


def _push(graph: Graph, frame: VideoFrame | None, waiting: deque[Picture]) -> Iterator[Picture]:
    """Give the filter a frame, or the end, and take what it has ready."""
    graph.push(frame)
    while True:
        try:
            made_whole = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield replace(waiting.popleft(), frame=made_whole)
