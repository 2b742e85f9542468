"""From `[storage]` to the lake that it means: on a disk or in an object store."""

from collections.abc import Callable
from pathlib import Path

from edc.config import StorageSettings
from edc.errors import ConfigError
from edc.files import Damage
from edc.lake import Lake
from edc.volumes import Volume


def open_lake(
    storage: StorageSettings,
    now_ns: Callable[[], int],
    *,
    whole: bool = False,
    check: Callable[[], None] = lambda: None,
    on_damaged: Callable[[Damage], None] = lambda _damage: None,
) -> Lake:
    """The Parquet lake of the settings. Raises ConfigError where its store cannot be used."""
    return Lake(
        storage.home,
        storage.timezone,
        storage.partition,
        storage.instance,
        now_ns,
        reserve=storage.reserve,
        whole=whole,
        check=check,
        on_damaged=on_damaged,
        volume=None if isinstance(storage.path, Path) else object_store(storage),
    )


def object_store(storage: StorageSettings) -> Volume:
    """The store of a URL. Raises ConfigError."""
    try:
        from edc.object_store import ObjectStore  # noqa: PLC0415 - its library is an extra
    except ModuleNotFoundError:
        raise ConfigError(
            "[storage] path", f"{storage.path} needs obstore", "pip install 'edc[objects]'"
        ) from None
    return ObjectStore(str(storage.path), storage.secrets)


def check_storage(storage: StorageSettings) -> None:
    """Raises ConfigError where the lake could not be opened, as far as that is seen from here."""
    if isinstance(storage.path, str):
        object_store(storage)
        if storage.keep_days:
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
