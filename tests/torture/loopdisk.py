"""Disks to ruin: an ext4 in a file, whose power can fail, and a memory disk that fills up.

Everything here needs root and a Linux that has loop devices; `missing` says what is not there. A
disk is unmounted and its loop device given back on the way out of the context, whatever happened.
"""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN, as xfstests' `godown` uses it."""
_NO_LOG_FLUSH = 2
"""Not even the journal is written: what no fsync has made durable is gone."""
_MIB = 1 << 20


def missing(*programs: str) -> str:
    """Why no disk can be mounted here; empty if one can. `programs` are needed as well."""
    if os.geteuid() != 0:
        return "only root can mount disks"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    for program in ("mkfs.ext4", "losetup", "mount", "umount", *programs):
        if shutil.which(program, path=_PATH) is None:
            return f"{program} is not installed"
    return ""


_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _run(*command: str) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "PATH": _PATH}
    )
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


class LoopDisk:
    """An ext4 on a loop device, mounted at `path`. `commit` is its journal's interval in s."""

    def __init__(self, path: Path, device: str) -> None:
        self.path = path
        self._device = device
        self._covered = False

    def mount(self, *, commit: int = 5) -> None:
        """Mount it, which replays its journal."""
        _run("mount", "-t", "ext4", "-o", f"commit={commit}", self._device, str(self.path))

    def power_off(self) -> int:
        """Cut the power: nothing reaches the disk from now on. The moment, in ns since 1970."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            at = time.time_ns()
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)
        return at

    def unmount(self, *, lazily: bool = False) -> None:
        """Take it away; `lazily` even while files on it are open."""
        _run("umount", *(["-l"] if lazily else []), str(self.path))

    def read_only(self) -> None:
        """Cover it by a read-only view of itself: whatever is opened from now on is EROFS.

        A plain `remount,ro` is refused while a daemon holds its lock file open, and what the kernel
        does by itself after an error of the disk cannot be undone without a new mount.
        """
        _run("mount", "--bind", "-o", "ro", str(self.path), str(self.path))
        self._covered = True

    def writable(self) -> None:
        """Take the read-only view away."""
        self._covered = False
        self.unmount(lazily=True)

    def _gone(self) -> None:
        """Unmount whatever is mounted; a killed process may hold on to it for a moment."""
        if self._covered:
            self.writable()
        for _ in range(100):
            if not self.path.is_mount():
                return
            with contextlib.suppress(OSError):
                self.unmount()
                return
            time.sleep(0.05)
        self.unmount(lazily=True)


@contextmanager
def ext4(folder: Path, *, mib: int = 48) -> Iterator[LoopDisk]:
    """A fresh disk, mounted at `folder/disk` while inside."""
    image, path = folder / "disk.img", folder / "disk"
    path.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(mib * _MIB)
    _run("mkfs.ext4", "-q", "-F", str(image))
    disk = LoopDisk(path, _run("losetup", "--find", "--show", str(image)))
    try:
        disk.mount()
        try:
            yield disk
        finally:
            disk._gone()
    finally:
        _run("losetup", "--detach", disk._device)
        image.unlink()


@contextmanager
def tmpfs(folder: Path, *, kib: int) -> Iterator[Path]:
    """A disk in memory that holds so many KiB, mounted at `folder/disk` while inside."""
    path = folder / "disk"
    path.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(path))
    try:
        yield path
    finally:
        _run("umount", "-l", str(path))
