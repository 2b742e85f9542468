"""What a run of the harness shows: one row for each family of faults."""

from collections.abc import Sequence
from dataclasses import dataclass, field

HEADS = ("fault", "times", "sent", "found", "lost", "explained", "duplicates", "note")


@dataclass(slots=True)
class Row:
    """What a fault has cost, counted by an oracle outside edc.

    `lost` events were sent and are not in the lake, `explained` of them lie inside a row of the gap
    table. `costs` are the ages, in seconds, of the oldest event that each kill took which took any.
    `problems` are promises that were broken. `skipped` says why nothing was tried.
    """

    fault: str
    repetitions: int = 0
    sent: int = 0
    found: int = 0
    lost: int = 0
    explained: int = 0
    duplicates: int = 0
    note: str = ""
    costs: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def failed(self) -> bool:
        """True where a promise was broken."""
        return bool(self.problems or self.duplicates or self.lost != self.explained)

    def cells(self) -> list[str]:
        """As text, in the order of `HEADS`."""
        if self.skipped:
            return [self.fault, "0", *[""] * 5, f"skipped: {self.skipped}"]
        counts = (self.repetitions, self.sent, self.found, self.lost, self.explained)
        numbers = (f"{count:,}" for count in (*counts, self.duplicates))
        return [self.fault, *numbers, "FAILED" if self.failed else self.note]


def table(rows: Sequence[Row]) -> str:
    """The rows below their heads, numbers to the right."""
    lines = [list(HEADS), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    texts = (0, len(HEADS) - 1)
    return "\n".join(
        "  ".join(
            cell.ljust(widths[column]) if column in texts else cell.rjust(widths[column])
            for column, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )
