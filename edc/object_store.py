"""A lake in an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

By `obstore`, the extra `edc[objects]`: the Rust client that Polars has within, with `list` and a
conditional `put` beside it. An object is put as a whole and only where there is none of its name
(`If-None-Match: *`), so a reader finds all of a file or nothing, and two daemons never write over
each other. Credentials come from the environment as each cloud's own tools take them
(`AWS_ACCESS_KEY_ID` …), or from `storage.options`.
"""

import errno
import io
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from obstore import exceptions
from obstore.store import from_url

from edc import seal
from edc.errors import ConfigError

_KEPT_BYTES = 16 << 20
"""Of files that were read or written last: a batch mostly asks for those of the batch before."""
_RETRIES: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}
"""Deliver waits and tries again by itself; a stop must not wait for minutes."""
_CLIENT: dict[str, Any] = {"timeout": "30s", "connect_timeout": "5s"}
_CLIENT_OPTIONS = frozenset(
    {
        *("allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only"),
        *("proxy_ca_certificate", "proxy_excludes", "proxy_url", "timeout", "user_agent"),
    }
)
"""Options of the connection; all others are those of the store."""


class ObjectStore:
    """A prefix of a bucket or container. Raises ConfigError where the URL or an option is none."""

    root = Path()

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        client = {name: value for name, value in options.items() if name in _CLIENT_OPTIONS}
        config: Any = {name: value for name, value in options.items() if name not in client}
        try:
            options_of_client: Any = {**_CLIENT, **client}
            self._store: Any = from_url(
                url, config=config, client_options=options_of_client, retry_config=_RETRIES
            )
        except (exceptions.BaseError, ValueError, TypeError) as error:
            raise ConfigError(
                "[storage] path", f"{url}: {_first_line(error)}", "mend the URL or storage.options"
            ) from None
        self._kept: OrderedDict[Path, bytes] = OrderedDict()
        self._kept_size = 0

    def __str__(self) -> str:
        return self._url

    def names(self, folder: Path) -> set[str]:
        """See `Volume`."""
        with _translated():
            found = self._store.list_with_delimiter(folder.as_posix())
        names = {each["path"].rpartition("/")[2] for each in found["objects"]}
        return {name for name in names if name.endswith(".parquet") and name[0] not in "._"}

    def partitions(self, table: Path) -> Iterator[Path]:
        """See `Volume`."""
        for day in self._folders(table, "date="):
            yield from self._folders(day, "hour=") or [day]

    def _folders(self, folder: Path, prefix: str) -> list[Path]:
        with _translated():
            found = self._store.list_with_delimiter(folder.as_posix())["common_prefixes"]
        names = sorted(each.rstrip("/").rpartition("/")[2] for each in found)
        return [folder / name for name in names if name.startswith(prefix)]

    def source(self, path: Path) -> io.BytesIO:
        """See `Volume`. The whole object is fetched: a batch's files are small."""
        kept = self._kept.get(path)
        if kept is None:
            kept = self.read(path)
            self._keep(path, kept)
        else:
            self._kept.move_to_end(path)
        return io.BytesIO(kept)

    def check(self, path: Path) -> None:
        """See `Volume`."""
        seal.check(self.source(path))

    def read(self, path: Path) -> bytes:
        """See `Volume`."""
        with _translated():
            return bytes(self._store.get(path.as_posix()).bytes())

    def prepare(self, folder: Path) -> None:
        """See `Volume`. There are no folders."""

    def publish(self, path: Path, data: bytes | memoryview) -> None:
        """See `Volume`. A put that was repeated after its answer was lost finds its own object."""
        whole = bytes(data)
        try:
            with _translated():
                self._store.put(path.as_posix(), whole, mode="create", use_multipart=False)
        except FileExistsError:
            if self.read(path) != whole:
                raise
        if path.suffix == ".parquet":
            self._keep(path, whole)

    def replace(self, path: Path, data: bytes | memoryview) -> None:
        """See `Volume`."""
        with _translated():
            self._store.put(path.as_posix(), bytes(data), mode="overwrite", use_multipart=False)

    def set_aside(self, path: Path, reason: str) -> Path:
        """See `Volume`."""
        aside = Path(".quarantine") / f"{time.time_ns()}-{path.name}"
        with _translated():
            self._store.rename(path.as_posix(), aside.as_posix())
        self.replace(aside.with_name(aside.name + ".reason"), f"{path}: {reason}\n".encode())
        self._forget(path)
        return aside

    def check_room(self, needed: int = 0) -> None:
        """See `Volume`. There is always room."""

    def refusal(self, error: OSError) -> ConfigError | None:
        """See `Volume`."""
        if isinstance(error, (PermissionError, FileNotFoundError)):
            return ConfigError(
                "[storage] path",
                f"{self._url} cannot be written: {error.strerror}",
                "check the bucket, the credentials and storage.options",
            )
        return None

    def _keep(self, path: Path, data: bytes) -> None:
        self._forget(path)
        self._kept[path] = data
        self._kept_size += len(data)
        while self._kept_size > _KEPT_BYTES:
            self._kept_size -= len(self._kept.popitem(last=False)[1])

    def _forget(self, path: Path) -> None:
        self._kept_size -= len(self._kept.pop(path, b""))


@contextmanager
def _translated() -> Iterator[None]:
    """The library's errors as those of files, by what is to be done next."""
    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(errno.ENOENT, _first_line(error)) from error
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
        raise FileExistsError(errno.EEXIST, _first_line(error)) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, _first_line(error)) from error
    except exceptions.BaseError as error:
        raise OSError(errno.EIO, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    """Its sentence, without the request and the debugging text that the library adds."""
    return str(error).partition("\n")[0].partition(" - Server returned")[0][:300]
