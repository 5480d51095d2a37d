"""What all HTML pages share: one file each, which fetches nothing; texts from elsewhere are escaped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dkpvid import __version__
from dkpvid.drawing import keypoint_colors
from dkpvid.files import write_then_rename

_pages = Environment(
    loader=PackageLoader("dkpvid.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template of `dkpvid/pages/templates` and write it to a file."""
    page = _pages.get_template(template).render(dkpvid_version=__version__, **values)
    with write_then_rename(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def css_colors(count: int) -> list[str]:
    """The colours of keypoints on annotated videos, as #rrggbb."""
    levels = keypoint_colors(count).round().astype(int).tolist()
    return ["#" + "".join(f"{level:02x}" for level in color) for color in levels]


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings and those within them, as `outer.inner` and text."""
    for name, value in settings.items():
        if isinstance(value, dict) and not prefix:
            yield from flat(value, f"{name}.")
        else:
            yield f"{prefix}{name}", str(value)
