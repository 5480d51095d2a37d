"""Weights from the web: fetched on first use, checked, kept in the cache."""

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch

from dkpvid.errors import WeightsError
from dkpvid.files import cache_folder, write_then_rename

HUB_PREFIX = "hf://"


@dataclass(frozen=True)
class Download:
    """A file on the web."""

    url: str
    sha256: str
    """Of the file; one that differs is refused."""
    flag: str
    """The command-line option that takes a local path instead."""
    saved_as: str = ""
    """Its name in the cache; empty = the last part of the address."""

    @property
    def name(self) -> str:
        """What the file is called in the cache."""
        return self.saved_as or self.url.rsplit("/", 1)[1]


VGG16 = Download(
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    flag="--perceptual-weights",
)

# MiDaS's own .pt files came without digests; these are the same weights, with nothing to unpickle.
MIDAS = {
    name: Download(
        f"https://huggingface.co/Intel/{name.replace('swin2', 'swinv2')}/resolve/main/model.safetensors",
        sha256,
        flag="--depth-weights",
        saved_as=f"{name}.safetensors",
    )
    for name, sha256 in {
        "dpt-swin2-large-384": "cacd7f27eadd9d17a9ea0d4bc5d545d6259aac3f07977722cac1cef1207197b4",
        "dpt-swin2-base-384": "368ec4d87b8be9fb6664d6d5f16ecfd6df65870319a86d631b197bee148f0361",
        "dpt-swin2-tiny-256": "b11e8b50dee40e953a1c38c9d9330e3bf5512247389b87b74d0c47c263b64983",
    }.items()
}


def fetch(download: Download) -> Path:
    """The file's place in the cache, after downloading it if it is not there.

    Raises:
        WeightsError: it cannot be downloaded, or is not what was expected.
    """
    path = cache_folder() / "networks" / download.name
    if not path.is_file():
        try:
            with write_then_rename(path) as temporary:
                torch.hub.download_url_to_file(
                    download.url, str(temporary), download.sha256, progress=sys.stderr.isatty()
                )
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"cannot download {download.name} ({error}): get it from {download.url} and put it at "
                f"{path}, or give its path with {download.flag}"
            ) from None
    return path


def fetch_from_hub(name: str, default_file: str, flag: str = "--weights") -> Path:
    """A weights file of the Hugging Face hub, by way of the cache.

    Args:
        name: hf://OWNER/REPO or hf://OWNER/REPO/FILE.
        default_file: What is meant when no file is named.
        flag: The command-line option that takes a local path instead.

    Raises:
        WeightsError: the name is no such thing, or the file cannot be downloaded.
    """
    owner, _, rest = name.removeprefix(HUB_PREFIX).partition("/")
    repository, _, file = rest.partition("/")
    file = file or default_file
    # No part may lead out of the repository, nor out of the cache.
    is_plain = re.fullmatch(r"(\w[\w.-]*/)+\w[\w.-]*\.safetensors", f"{owner}/{repository}/{file}", re.ASCII)
    if not is_plain:
        raise WeightsError(
            f"{name} names no weights; give hf://OWNER/REPO or hf://OWNER/REPO/FILE.safetensors"
        )
    from huggingface_hub import hf_hub_download  # loads an HTTP client

    # It tells of each new attempt; what counts is how it ends.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file, cache_dir=cache_folder() / "hub"))
    except (OSError, ValueError, RuntimeError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"cannot download {file} of {owner}/{repository} ({first_line}): get it from "
            f"https://huggingface.co/{owner}/{repository}/resolve/main/{file} and give its path to {flag}"
        ) from None
