"""Files are wholly there or not there at all, whatever the disk does."""

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edc import files
from edc.errors import ConfigError, DiskFailed


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def failing(number: int) -> object:
    """A system call that fails."""

    def call(*arguments: object, **named: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return call


def test_published_data_is_there_under_its_name_only(tmp_path: Path) -> None:
    files.publish(tmp_path / "a.parquet", b"content")

    assert (tmp_path / "a.parquet").read_bytes() == b"content"
    assert names(tmp_path) == ["a.parquet"]


def test_an_empty_file_and_a_view_can_be_published(tmp_path: Path) -> None:
    files.publish(tmp_path / "empty", b"")
    files.publish(tmp_path / "view", memoryview(b"content")[3:])

    assert (tmp_path / "empty").read_bytes() == b""
    assert (tmp_path / "view").read_bytes() == b"tent"


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"first")

    with pytest.raises(FileExistsError):
        files.publish(path, b"second")

    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_writes_that_take_a_part_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))

    files.publish(tmp_path / "a", b"0123456789")

    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_full_disk_is_told_with_its_errno_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left") as caught:
        files.publish(tmp_path / "a", b"content")

    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_a_disk_that_fills_halfway_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = os.write, iter([3])

    def some(descriptor: int, data: memoryview) -> int:
        if (count := next(calls, None)) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:count])

    monkeypatch.setattr(os, "write", some)

    with pytest.raises(OSError, match="No space left"):
        files.publish(tmp_path / "a", b"content")

    assert names(tmp_path) == []


def test_a_failed_fsync_is_never_taken_for_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))

    with pytest.raises(DiskFailed, match="Input/output error") as caught:
        files.publish(tmp_path / "a", b"content")

    assert caught.value.exit_code == 74
    assert names(tmp_path) == []


def test_a_failed_fsync_of_the_folder_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, iter([True])

    def once(descriptor: int) -> None:
        if next(calls, None) is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", once)

    with pytest.raises(DiskFailed) as caught:
        files.publish(tmp_path / "a", b"content")

    assert caught.value.path == str(tmp_path)


def test_content_is_durable_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync = tmp_path / "a", os.fsync
    synced: list[tuple[bool, bool]] = []

    def note(descriptor: int) -> None:
        of_folder = Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path
        synced.append((of_folder, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)

    files.publish(path, b"content")

    assert synced == [(False, False), (True, True)]


def test_a_file_system_without_links_is_served_by_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))

    files.publish(tmp_path / "a", b"content")

    assert (tmp_path / "a").read_bytes() == b"content"
    assert names(tmp_path) == ["a"]


def test_a_file_system_without_links_does_not_replace_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"first")
    monkeypatch.setattr(os, "link", failing(errno.EPERM))

    with pytest.raises(FileExistsError):
        files.publish(tmp_path / "a", b"second")

    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.publish(tmp_path / "missing" / "a", b"content")


def test_what_another_wrote_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    synced: list[Path] = []
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()),
    )

    files.sync_file(path)

    assert synced == [path]


def test_folders_are_made_with_their_parents_and_durably(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)

    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()
    assert sorted(synced) == [tmp_path, tmp_path / "a"]


def test_sweeping_removes_what_a_kill_left_and_nothing_else(tmp_path: Path) -> None:
    kept = [".hidden", "a.arrow", "a.tmp"]
    for name in [*kept, ".a.arrow.123.tmp", ".b.arrow.9.tmp"]:
        (tmp_path / name).write_bytes(b"x")

    assert files.sweep(tmp_path) == 2
    assert names(tmp_path) == kept


def test_a_file_set_aside_lies_beside_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"garbage")

    aside = files.set_aside(tmp_path, tmp_path / "bad", "checksum does not match")

    assert aside == tmp_path / ".quarantine" / "bad"
    assert aside.read_bytes() == b"garbage"
    reason = tmp_path / ".quarantine" / "bad.reason"
    assert reason.read_text() == f"{tmp_path}/bad: checksum does not match\n"
    assert not (tmp_path / "bad").exists()


def test_files_of_one_name_are_all_kept_aside(tmp_path: Path) -> None:
    contents = [b"one", b"two", b"three"]
    asides = []
    for number, content in enumerate(contents):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "bad").write_bytes(content)
        asides.append(files.set_aside(tmp_path, tmp_path / str(number) / "bad", "damaged"))

    assert [aside.read_bytes() for aside in asides] == contents
    assert [aside.with_name(f"{aside.name}.reason").read_text() for aside in asides] == [
        f"{tmp_path}/{number}/bad: damaged\n" for number in range(3)
    ]


def test_a_path_that_can_be_written_has_no_problem(tmp_path: Path) -> None:
    assert files.write_problem(tmp_path) is None
    assert files.write_problem(tmp_path / "not" / "yet") is None
    assert not (tmp_path / "not").exists()


def test_a_path_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert files.write_problem(tmp_path / "file" / "lake") == f"{tmp_path}/file is not a folder"

    monkeypatch.setattr(os, "access", lambda *_: False)
    assert files.write_problem(tmp_path / "lake") == f"{tmp_path} may not be written"


def test_an_unwritable_path_is_the_operators_to_mend(tmp_path: Path) -> None:
    error = files.unwritable(Path("data"), OSError(errno.EROFS, "Read-only file system"))

    assert isinstance(error, ConfigError)
    assert str(error) == (
        "[storage] path: data cannot be written: Read-only file system; choose a folder that edc"
        " may write, make room, or mend its permissions"
    )


def test_what_a_kill_left_hidden_is_not_written_over_where_it_is_a_published_file(
    tmp_path: Path,
) -> None:
    """Killed between the naming and the removal of the hidden name, both are one file."""
    path, hidden = tmp_path / "a", tmp_path / f".a.{os.getpid()}.tmp"
    files.publish(path, b"first")
    os.link(path, hidden)

    with pytest.raises(FileExistsError):
        files.publish(path, b"second")

    assert path.read_bytes() == b"first"
    assert not hidden.exists()


def test_once_a_file_has_its_name_nothing_but_an_fsync_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next try would find the name taken, for ever."""
    opened = os.open

    def exhausted(path: Any, *flags: Any) -> int:
        if Path(path) == tmp_path:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opened(path, *flags)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", exhausted)
        with pytest.raises(OSError, match="Too many open files"):
            files.publish(tmp_path / "a", b"x")
    assert names(tmp_path) == []

    files.publish(tmp_path / "a", b"x")
