"""Networks of other projects that training needs: fetched on first use, checked, kept in the cache."""

from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch

from dkpvid.errors import WeightsError
from dkpvid.files import cache_folder, write_then_rename


@dataclass(frozen=True)
class Download:
    """A file on the web."""

    url: str
    sha256_prefix: str
    """The first digits of the file's SHA-256; a file that differs is refused."""
    flag: str
    """The command-line option that takes a local path instead."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[1]


VGG16 = Download(
    "https://download.pytorch.org/models/vgg16-397923af.pth", "397923af", flag="--perceptual-weights"
)


def fetch(download: Download, show_progress: bool = True) -> Path:
    """The file's place in the cache, after downloading it if it is not there.

    Raises:
        WeightsError: it cannot be downloaded, or is not what was expected.
    """
    path = cache_folder() / "networks" / download.name
    if not path.is_file():
        try:
            with write_then_rename(path) as temporary:
                torch.hub.download_url_to_file(
                    download.url, str(temporary), download.sha256_prefix, progress=show_progress
                )
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"cannot download {download.name} ({error}): get it from {download.url} and put it at "
                f"{path}, or give its path with {download.flag}"
            ) from None
    return path
