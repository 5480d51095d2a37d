"""Files appear complete or not at all."""

import fcntl
import os
from pathlib import Path

import pytest

from dkpvid.files import (
    cache_folder,
    put_folder_in_place,
    put_in_place,
    remove_leftovers,
    temporary_beside,
    temporary_folder_beside,
    write_then_rename,
)


def test_a_temporary_file_is_hidden_beside_its_place(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "clip.dkp.json"
    first, second = temporary_beside(path), temporary_beside(path)
    assert first != second
    assert first.parent == path.parent
    assert first.name.startswith(".clip.dkp.")
    assert first.suffix == ".json"
    assert not path.exists()


def test_success_gives_the_file_its_name(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with write_then_rename(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(error), write_then_rename(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_rename_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"result\.json"), write_then_rename(path) as temporary:
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="rights are a POSIX matter")
@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_file_has_the_rights_of_any_new_file(tmp_path: Path, umask: int, rights: int) -> None:
    path = tmp_path / "result.json"
    before = os.umask(umask)
    try:
        put_in_place(temporary_beside(path), path)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == rights


def filled_folder(path: Path) -> Path:
    """A new folder beside a path, with one file."""
    folder = temporary_folder_beside(path)
    assert folder.parent == path.parent
    assert folder.name.startswith(".")
    (folder / "new.json").write_text("new")
    return folder


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "clip.dkp.openpose"
    put_folder_in_place(filled_folder(path), path)
    (path / "old.json").write_text("old")
    put_folder_in_place(filled_folder(path), path)
    assert [file.name for file in path.iterdir()] == ["new.json"]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.dkp.openpose"
    path.write_text("old")
    with pytest.raises(OSError, match="openpose"):
        put_folder_in_place(filled_folder(path), path)
    assert path.read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="links are a POSIX matter")
def test_a_link_is_replaced_and_its_folder_kept(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "clip.dkp.openpose", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "old.json").write_text("old")
    path.symlink_to(elsewhere)
    put_folder_in_place(filled_folder(path), path)
    assert not path.is_symlink()
    assert [file.name for file in path.iterdir()] == ["new.json"]
    assert [file.name for file in elsewhere.iterdir()] == ["old.json"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.dkp.openpose"
    path.mkdir()
    (path / "old.json").write_text("old")
    folder = filled_folder(path)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self == folder:
            raise OSError("refused")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="refused"):
        put_folder_in_place(folder, path)
    assert [file.name for file in path.iterdir()] == ["old.json"]
    assert sorted(tmp_path.iterdir()) == sorted([path, folder])


def test_the_cache_folder_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("DKPVID_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "dkpvid"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dkpvid"


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    path, other = tmp_path / "a.b.dkp.openpose", tmp_path / "a.dkp.openpose"
    (temporary_folder_beside(path) / "frame.json").touch()
    temporary_beside(path)
    kept = temporary_folder_beside(other)
    remove_leftovers(path)
    assert list(tmp_path.iterdir()) == [kept]


def test_a_file_is_flushed_by_a_handle_that_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: modes.append(fcntl.fcntl(handle, fcntl.F_GETFL)))
    with write_then_rename(tmp_path / "a") as temporary:
        temporary.write_text("text")
    assert [mode & os.O_ACCMODE for mode in modes] == [os.O_RDWR]


def test_the_umask_of_the_process_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Between two calls of it, files of other threads would be everybody's.
    monkeypatch.setattr(os, "umask", None)
    with write_then_rename(tmp_path / "a") as temporary:
        temporary.touch()
    put_folder_in_place(temporary_folder_beside(tmp_path / "b"), tmp_path / "b")
    assert (tmp_path / "a").is_file() and (tmp_path / "b").is_dir()
