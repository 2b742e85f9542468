"""`python -m tests.fuzz [--frames 1000000] [--only VENDOR]`: harmed frames for each adapter.

Every frame of a vendor's fixture is cut, joined, and changed in bytes, digits and words. Whatever
comes of it, an adapter raises nothing but the errors of its contract, and gives nothing but events.
Prints frames, events and errors by vendor; exits 1 at the first thing that should not be.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edc import adapters
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.transport import Frame
from tests.test_adapters import FIXTURES, build, frame_of

WORDS = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b'"nan"', b'""', b"[]", b"{}", b"[[[[["),
    *(b"9" * 40, b'"\\ud800"', b"\xff", b'"T"', b'"a":', b",", b'{"a":', b"\x00", b"1.5", b"'"),
)


def mutated(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """A frame that was harmed in one to four ways."""
    frame = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(frame) + 1)
        match rng.randrange(6):
            case 0 if frame:
                frame[at - 1] = rng.randrange(256)
            case 1:
                del frame[at : at + rng.randrange(1, 12)]
            case 2:
                frame[at:at] = rng.choice(WORDS)
            case 3:
                end = at + rng.randrange(1, 16)
                frame[at:end] = rng.choice(WORDS)
            case 4:
                other = rng.choice(others)
                cut = rng.randrange(len(other) + 1)
                frame[at:] = other[cut:]
            case _:
                digits = [i for i, byte in enumerate(frame) if 48 <= byte <= 57]
                if digits:
                    frame[rng.choice(digits)] = rng.randrange(48, 58)
    return bytes(frame)


def fuzz(vendor: str, number: int, seed: int) -> Counter[str]:
    """What came of so many frames. Raises whatever an adapter may not."""
    rng = random.Random(f"{vendor} {seed}")
    path = FIXTURES / f"{vendor}.jsonl"
    cases: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    frames = [frame_of(case) for case in cases]
    made = [build(vendor, case["feed"]) for case in cases]
    others = [frame.data for frame in frames]
    counts: Counter[str] = Counter()
    for turn in range(number):
        at = rng.randrange(len(cases))
        whole, adapter = frames[at], made[at]
        data = rng.randbytes(40) if turn % 50 == 0 else mutated(rng, whole.data, others)
        frame = Frame(data, whole.received_ns, 1, whole.status, whole.about)
        events: Sequence[object]
        try:
            events = adapter.decode(frame)
            if isinstance(adapter, adapters.Converses):
                adapter.answer(frame)
        except Skippable as error:
            counts[error.reason] += 1
            events = list(error.events)
        except (Fatal, Retriable) as error:
            counts[type(error).__name__] += 1
            continue
        except Exception as error:
            error.add_note(f"{vendor}: {data!r}")
            raise
        assert all(isinstance(event, Event) for event in events), (vendor, data)
        counts["events"] += len(events)
    return counts


def main() -> None:
    """Run it from the command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="for each adapter")
    parser.add_argument("--only", choices=adapters.names())
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for vendor in [options.only] if options.only else adapters.names():
        started = time.monotonic()
        counts = fuzz(vendor, options.frames, options.seed)
        told = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
        seconds = time.monotonic() - started
        sys.stdout.write(f"{vendor}: {options.frames:,} frames in {seconds:.0f} s: {told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
