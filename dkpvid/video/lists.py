"""Lists of videos, one a line, in the ways that people and programs write them."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from dkpvid.errors import DataError

_HEADERS = frozenset({"file", "filename", "file_name", "files", "name", "path", "paths", "video", "videos"})
"""What the first line of a list may be called, if no file is."""

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_list(path: Path) -> Iterator[tuple[int, str]]:
    """The words of a list with the numbers of their lines, from 1.

    Lines that start with # and what follows ` #` are remarks. A word may stand in quotes, start with `~`, or
    be a line of FFmpeg's concat lists, `file 'clip.mp4'`; of those, lines that name no file are passed over.
    A first line such as `filename` is a heading. The text is UTF-8, UTF-16 with a mark at its start, or else
    Latin-1.

    Raises:
        DataError: it cannot be read, or is no text.
    """
    lines = _text(path).splitlines()
    is_concat = any(re.match(r"\s*file\s+\S", line) for line in lines) or (
        bool(lines) and lines[0].startswith("ffconcat")
    )
    is_first = True
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if is_concat:
            if not (match := re.fullmatch(r"file\s+(.*)", line)):
                continue
            line = match[1]
        word = _word(line, path.parent)
        is_heading = is_first and word.lower() in _HEADERS and not (path.parent / word).exists()
        is_first = False
        if word and not is_heading:
            yield number, word


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check its rights") from error
    coding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(coding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if re.search(r"[\x00-\x08\x0e-\x1f]", text):
        raise DataError(f"{path}: not a list of videos, one a line: it is no text")
    return text


def _word(line: str, folder: Path) -> str:
    """A line without quotes and remarks; a name that is there is taken as it is."""
    if (folder / line).exists():
        return line
    if match := re.match(r"(['\"])(.*?)\1\s*(#.*)?,?$", line):
        line = match[2]
    else:
        line = re.split(r"\s#", line, maxsplit=1)[0].strip().rstrip(",")
    # FFmpeg's way to write a quote within quotes.
    line = line.replace("'\\''", "'")
    return str(Path(line).expanduser()) if line.startswith("~") else line
