"""`.lake.json`: the layout that a lake was begun with, and keeps.

Rows are looked for in the folder that their time gives, so the time zone and the partition of a
lake never change; nor does the format of its files.
"""

import contextlib
import logging

import msgspec

from edc.errors import ConfigError
from edc.events import SCHEMA_VERSION
from edc.volumes import Volume

_NAME = ".lake.json"

log = logging.getLogger(__name__)


class Layout(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a lake keeps; the schema version alone may rise."""

    schema_version: int
    timezone: str
    partition: str
    format: str = "parquet"


class Claim:
    """One lake, held to a layout."""

    def __init__(
        self, volume: Volume, timezone: str, partition: str, form: str = "parquet"
    ) -> None:
        self._volume = volume
        self._layout = Layout(SCHEMA_VERSION, timezone, partition, form)
        self._late = False

    def begin(self) -> None:
        """Claim it, at once, or before the first write where its store does not answer yet.

        Raises ConfigError; see `take`.
        """
        try:
            self.take()
        except OSError as error:
            self._late = True
            log.warning("the lake does not answer, rows wait in the spool: %s", error)

    def ensure(self) -> None:
        """Make good what `begin` could not. Raises what `take` raises."""
        if self._late:
            self.take()

    def take(self) -> None:
        """Leave `.lake.json` behind, or find that it says the same.

        A newer edc raises the schema version in it, before it writes anything that an older one
        would not understand. Raises ConfigError where it says another layout, or a newer version
        than this edc knows, and OSError where a store that is elsewhere does not answer.
        """
        try:
            self._take()
        except OSError as error:
            raise self._volume.refusal(error) or error from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self._volume}/{_NAME}", f"cannot be read: {error}", "restore or remove it"
            ) from None
        self._late = False

    def _take(self) -> None:
        marker, wanted = self._volume.root / _NAME, self._layout
        try:
            said = self._volume.read(marker)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                self._volume.publish(marker, msgspec.json.encode(wanted))
            said = self._volume.read(marker)
        found = msgspec.json.decode(said, type=Layout)
        if found.schema_version > SCHEMA_VERSION:
            raise ConfigError(
                str(self._volume),
                f"the lake has schema version {found.schema_version}, this edc knows up to"
                f" {SCHEMA_VERSION}",
                "upgrade edc",
            )
        if found.format != wanted.format:
            raise ConfigError(
                "[storage] format",
                f"the lake at {self._volume} was begun as {found.format!r}",
                "keep that, or choose another path",
            )
        if (found.timezone, found.partition) != (wanted.timezone, wanted.partition):
            raise ConfigError(
                "[storage]",
                f"the lake at {self._volume} was begun with timezone {found.timezone!r} and"
                f" partition {found.partition!r}",
                "keep those, or choose another path",
            )
        if found.schema_version < SCHEMA_VERSION:
            self._volume.replace(marker, msgspec.json.encode(wanted))
