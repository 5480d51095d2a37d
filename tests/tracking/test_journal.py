"""Detections that outlive a kill: exactly those, of whole batches, for the same video and settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dkpvid.errors import DataError
from dkpvid.structures import Frame, Track
from dkpvid.tracking.journal import Journal, check_same_frames


@pytest.fixture
def batches(rng: np.random.Generator) -> list[Track]:
    """Three batches of four frames, and one of two; with missing keypoints."""
    found = []
    for start, count in ((10, 4), (14, 4), (18, 4), (22, 2)):
        xy = rng.normal(50, 9, (count, 3, 2))
        xy[0, 1] = np.nan
        found.append(
            Track(
                index=np.arange(start, start + count),
                time_seconds=np.arange(start, start + count) / 30,
                xy=xy,
                confidence=rng.uniform(0, 1, (count, 3)),
                covariance=rng.uniform(1, 2, (count, 3, 3)),
                region=rng.integers(0, 500, (count, 4)) if start == 14 else None,
            )
        )
    return found


def written(path: Path, batches: list[Track], key: str = "a") -> Path:
    journal = Journal(path, key, batch_size=4, resume=False)
    for batch in batches:
        journal.append(batch)
    return path


def read(path: Path, key: str = "a") -> Journal:
    return Journal(path, key, batch_size=4, resume=True)


def assert_same(ours: list[Track], theirs: list[Track]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for name in ("index", "time_seconds", "xy", "confidence", "covariance", "region"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


def test_detections_come_back_exactly(tmp_path: Path, batches: list[Track]) -> None:
    assert_same(read(written(tmp_path / "deep" / "journal", batches[:3])).batches, batches[:3])


def test_a_batch_that_was_cut_short_is_detected_again(tmp_path: Path, batches: list[Track]) -> None:
    path = written(tmp_path / "journal", batches)
    journal = read(path)
    assert_same(journal.batches, batches[:3])
    journal.append(batches[2])
    assert_same(read(path).batches, [*batches[:3], batches[2]])


def test_cut_off_at_any_byte(tmp_path: Path, batches: list[Track]) -> None:
    path = written(tmp_path / "journal", batches[:2])
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    size = (len(content) - start) // 2
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        journal = read(path)
        whole = max(0, (length - start) // size)
        assert_same(journal.batches, batches[:whole])
        journal.append(batches[whole])
        assert_same(read(path).batches, batches[: whole + 1])


def test_another_key_or_no_wish_to_resume_begins_anew(tmp_path: Path, batches: list[Track]) -> None:
    path = written(tmp_path / "journal", batches[:2])
    assert read(path, "b").batches == []
    assert Journal(path, "a", batch_size=4, resume=False).batches == []
    assert read(tmp_path / "nothing").batches == []
    other = read(path, "b")
    other.append(batches[2])
    assert_same(read(path, "b").batches, [batches[2]])
    assert read(path, "a").batches == []


def test_nothing_is_unpickled(tmp_path: Path, batches: list[Track]) -> None:
    path = written(tmp_path / "journal", batches[:1])
    with path.open("ab") as file:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert_same(read(path).batches, batches[:1])


def test_frames_that_were_decoded_again_must_be_the_same(batches: list[Track]) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    again = [Frame(image, index, index / 30) for index in range(10, 14)]
    check_same_frames(batches[0], again)
    for changed in (again[:-1], [*again[:-1], replace(again[-1], time_seconds=9.0)]):
        with pytest.raises(DataError, match=r"other frames than before .*; run without --resume"):
            check_same_frames(batches[0], changed)
