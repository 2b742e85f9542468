"""Questions to a whole lake: is it all there, each row once, and as it was written.

Partition by partition, every row is read (soundness.py); what was found of each source is set
against the ledger and the hours of its market (coverage.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from edc.audit import leftovers, record
from edc.audit.coverage import Cause, Day, Known, Seen, Span, bounds, by_day, coverage
from edc.audit.leftovers import Leftovers
from edc.audit.soundness import Finding, Partition, check
from edc.audit.tally import Extent, merge
from edc.errors import ConfigError
from edc.events import EVENT_TYPES, SCHEMA_VERSION
from edc.lake import Lake
from edc.times import SECOND
from edc.upkeep.compaction import MANIFEST

Progress = Callable[[str, int, int], None]

_EVER: Span = (-(2**63), 2**63 - 1)


class Report(msgspec.Struct):
    """What `edc audit` tells. `sound` is true where nothing was found that should not be.

    `shared_rows` are, by folder, rows that two instances recorded: gone after `edc compact`.
    `foreign` files are no table of edc and ignored. `unplaced` gaps name no source, because the
    files that were lost did not.
    """

    path: str
    timezone: str
    sound: bool
    files: int
    rows: int
    schema_versions: dict[int, int]
    days: list[Day]
    findings: list[Finding]
    shared_rows: dict[str, int]
    foreign: list[str]
    unplaced: dict[str, Cause]
    leftovers: Leftovers


class _Layout(msgspec.Struct):
    schema_version: int
    timezone: str
    partition: str


def open_lake(path: Path, timezone: str | None = None, partition: str | None = None) -> Lake:
    """The lake at `path`, in the layout that it was begun with; as given where it does not say.

    Nothing is written. Raises ConfigError where there is no lake, or one of a newer edc.
    """
    marker = path / ".lake.json"
    try:
        found = msgspec.json.decode(marker.read_bytes(), type=_Layout)
        ZoneInfo(found.timezone)
    except FileNotFoundError:
        if timezone is None or partition is None or not path.is_dir():
            mend = "name the folder that [storage] path names, and see that it is mounted"
            raise ConfigError(str(path), "there is no lake", mend) from None
        return _lake(path, timezone, partition)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(str(marker), f"cannot be read: {error}", "restore or remove it") from None
    if found.schema_version > SCHEMA_VERSION:
        problem = f"has schema version {found.schema_version}, this edc knows up to"
        raise ConfigError(str(path), f"{problem} {SCHEMA_VERSION}", "upgrade edc")
    return _lake(path, found.timezone, found.partition)


def _lake(path: Path, timezone: str, partition: str) -> Lake:
    return Lake(path, timezone, partition, "", lambda: 0)  # nothing is written: no name, no clock


def judge(
    lake: Lake,
    *,
    first: date | None = None,
    last: date | None = None,
    fail_under: float | None = None,
    progress: Progress = lambda _text, _done, _total: None,
) -> Report:
    """Read the partitions of the days from `first` to `last`, both included, and judge them.

    Less than `fail_under` percent of a day covered is a finding. `progress` is told what is at
    work, how many partitions are done, and of how many. Raises OSError where the disk does.
    """
    return _Audit(lake, first, last, progress).run(fail_under)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder with files of one table, and the day in its name."""

    event_type: str
    path: Path
    day: date | None


@dataclass(slots=True)
class _Totals:
    files: int = 0
    rows: int = 0
    versions: dict[int, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    shared: dict[str, int] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    extents: dict[tuple[str, str], Extent] = field(default_factory=dict)
    seen: dict[tuple[date, str], Seen] = field(default_factory=dict)


class _Audit:
    """One audit. Folders that bear no day are part of every one."""

    def __init__(
        self, lake: Lake, first: date | None, last: date | None, progress: Progress
    ) -> None:
        self._lake = lake
        self._zone = ZoneInfo(lake.timezone)
        self._first = first
        self._last = last
        self._progress = progress
        self._totals = _Totals()
        self._folders = [each for kind in EVENT_TYPES for each in _folders(lake.path, kind)]

    def run(self, fail_under: float | None) -> Report:
        """Check each partition, then the record as a whole."""
        chosen = [each for each in self._folders if self._is_asked(each.day)]
        names = leftovers.instances(self._lake.path)
        for number, each in enumerate(chosen):
            where = each.path.relative_to(self._lake.path)
            self._progress(str(where), number, len(chosen))
            self._add(each, check(self._lake, each.event_type, each.path, names))
        self._progress("the ledger", len(chosen), len(chosen))
        days, gaps = self._covered()
        totals = self._totals
        if fail_under is not None:
            totals.findings += _under(days, fail_under)
        nameless = gaps.filter(pl.col("source").is_null())
        return Report(
            path=str(self._lake.path),
            timezone=self._lake.timezone,
            sound=not totals.findings,
            files=totals.files,
            rows=totals.rows,
            schema_versions=totals.versions,
            days=days,
            findings=totals.findings,
            shared_rows=totals.shared,
            foreign=totals.foreign,
            unplaced=by_day(nameless, _EVER).get(0, {}),
            leftovers=leftovers.find(self._lake.path),
        )

    def _is_asked(self, day: date | None) -> bool:
        after = day is None or self._first is None or day >= self._first
        return after and (day is None or self._last is None or day <= self._last)

    def _add(self, folder: _Folder, found: Partition) -> None:
        totals = self._totals
        totals.files += found.files
        totals.rows += found.rows
        totals.findings += found.findings
        totals.foreign += found.foreign
        for version, files in found.versions.items():
            totals.versions[version] = totals.versions.get(version, 0) + files
        if found.shared:
            totals.shared[str(folder.path)] = found.shared
        for key, extent in found.extents.items():
            merge(totals.extents, key, extent)
            if folder.day is not None:
                seen = totals.seen.setdefault((folder.day, key[0]), Seen(extent.low, extent.high))
                seen.low, seen.high = min(seen.low, extent.low), max(seen.high, extent.high)
                kind = folder.event_type
                seen.rows[kind] = seen.rows.get(kind, 0) + extent.rows

    def _covered(self) -> tuple[list[Day], pl.DataFrame]:
        """The days that were asked for, and the gaps that touch them."""
        ends = (
            bounds([self._first], self._zone)[0] if self._first else _EVER[0],
            bounds([self._last], self._zone)[1] if self._last else _EVER[1],
        )
        folders = [each.path for each in self._folders if each.event_type == "gap"]
        gaps = record.ledger(folders, self._lake.timezone, ends)
        known = record.reach(self._totals.extents, gaps, record.watermarks(self._lake.path))
        if self._first is not None:
            self._look_back(known, self._first, ends[0])
        if self._last is not None:
            self._look_ahead(known, self._last, ends[1])
        days = self._days(known)
        return coverage(known, self._totals.seen, gaps, days, self._zone), gaps

    def _look_back(self, known: dict[str, Known], first: date, start: int) -> None:
        """A source that has rows before the first day is covered, or missing, from its start."""
        earlier = [each for each in self._tables() if each.day is not None and each.day < first]
        earlier.sort(key=lambda each: each.path.relative_to(self._lake.path).parts[1:])
        for source, asset_type in record.search(
            (each.path for each in reversed(earlier)), set(known)
        ):
            known[source].first = start
            known[source].asset_types.add(asset_type)

    def _look_ahead(self, known: dict[str, Known], last: date, end: int) -> None:
        """A source that has rows after the last day is covered, or missing, to its end."""
        later = [each for each in self._tables() if each.day is not None and each.day > last]
        later.sort(key=lambda each: each.path.relative_to(self._lake.path).parts[1:])
        wanted = {source for source, facts in known.items() if facts.until < end}
        for source, _ in record.search((each.path for each in later), wanted):
            known[source].until = end

    def _tables(self) -> Iterator[_Folder]:
        """The folders that hold events, not gaps."""
        return (each for each in self._folders if each.event_type != "gap")

    def _days(self, known: dict[str, Known]) -> list[date]:
        """The days that were asked for, as far as anything is known of them."""
        if not known:
            return []
        start = min(facts.first for facts in known.values()) // SECOND
        end = max(facts.until for facts in known.values()) // SECOND
        first = max(datetime.fromtimestamp(start, self._zone).date(), self._first or date.min)
        last = min(datetime.fromtimestamp(end, self._zone).date(), self._last or date.max)
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _folders(path: Path, event_type: str) -> Iterator[_Folder]:
    """Every folder below a table that has files of it, or had some according to its manifest."""
    table = path / event_type
    found = {
        file.parent for file in table.rglob("*.parquet") if not file.name.startswith((".", "_"))
    }
    found |= {manifest.parent for manifest in table.rglob(MANIFEST)}
    for folder in sorted(found):
        parts = folder.relative_to(table).parts
        if any(part.startswith((".", "_")) for part in parts):
            continue
        try:
            day = datetime.strptime(parts[0], "date=%Y-%m-%d").date() if parts else None  # noqa: DTZ007 - a day has no zone
        except ValueError:
            day = None
        yield _Folder(event_type, folder, day)


def _under(days: list[Day], percent: float) -> Iterator[Finding]:
    for day in days:
        if day.covered_percent is not None and day.covered_percent < percent:
            problem = f"{day.covered_percent:.4f} % covered, less than {percent:g} %"
            yield Finding("coverage", f"{day.day} {day.source}", problem)
