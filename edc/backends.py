"""The backends of a lake, as `[storage]` says: on a disk or an object store, Parquet or Delta."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from edc.errors import ConfigError
from edc.files import Damage
from edc.lake import Lake
from edc.settings import StorageSettings
from edc.sinks import LakeSink
from edc.sinks.parquet import ParquetSink
from edc.volumes import LocalVolume, Volume


def open_sink(
    storage: StorageSettings,
    now_ns: Callable[[], int],
    *,
    whole: bool,
    check: Callable[[], None],
    on_damaged: Callable[[Damage], None],
) -> LakeSink:
    """The lake of the settings, as a sink. Raises ConfigError where its store cannot be used.

    `whole`: what other instances have written counts as written, too (in Delta it always does).
    """
    if storage.format == "delta":
        delta: LakeSink = _delta().DeltaSink(
            _volume(storage, check),
            storage.secrets,
            storage.timezone,
            storage.instance,
            now_ns,
            on_damaged,
        )
        return delta
    return ParquetSink(
        Lake(
            storage.home,
            storage.timezone,
            storage.partition,
            storage.instance,
            now_ns,
            whole=whole,
            on_damaged=on_damaged,
            volume=_volume(storage, check),
        )
    )


def open_lake(storage: StorageSettings, now_ns: Callable[[], int]) -> Lake:
    """A Parquet lake that is on a disk, for those who tend it."""
    return Lake(storage.home, storage.timezone, storage.partition, storage.instance, now_ns)


def _volume(storage: StorageSettings, check: Callable[[], None]) -> Volume:
    if isinstance(storage.path, Path):
        return LocalVolume(storage.path, storage.reserve, check)
    return object_store(storage)


def _delta() -> ModuleType:
    try:
        from edc.sinks import delta  # noqa: PLC0415 - its library is an extra
    except ModuleNotFoundError:
        raise ConfigError(
            "[storage] format", "'delta' needs deltalake", "pip install 'edc[delta]'"
        ) from None
    return delta


def object_store(storage: StorageSettings) -> Volume:
    """The store of a URL. Raises ConfigError."""
    try:
        from edc.object_store import ObjectStore  # noqa: PLC0415 - its library is an extra
    except ModuleNotFoundError:
        raise ConfigError(
            "[storage] path", f"{storage.path} needs obstore", "pip install 'edc[objects]'"
        ) from None
    volume: Volume = ObjectStore(str(storage.path), storage.secrets)
    return volume


def check_storage(storage: StorageSettings) -> None:
    """Raises ConfigError where the lake could not be opened, as far as that is seen from here."""
    if storage.format == "delta":
        _delta()
    if isinstance(storage.path, str):
        object_store(storage)
        if storage.keep_days and storage.format == "parquet":
            raise ConfigError(
                "[storage] keep_days",
                f"edc removes nothing from {storage.path}",
                "leave it out, and give the bucket a lifecycle rule",
            )


def on_disk(storage: StorageSettings, command: str) -> Path:
    """The folder of a lake that is on a disk. Raises ConfigError where it is elsewhere."""
    if isinstance(storage.path, Path):
        return storage.path
    raise ConfigError(
        "[storage] path",
        f"{command} works on a folder, and {storage.path} is none",
        "copy what it should read to a disk, and name that with --path or in another config",
    )
