"""The extension in C touches no memory but its own: it is built to tell, and fed garbage."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "edc" / "speedups.c"
FUZZ = """
import gc, random, sys
sys.path.insert(0, {folder!r})
import speedups

chance = random.Random(7)
KINDS = ("word", "text", "real", "real?", "decimal", "integer", "flag", "iso", "zulu")
GOOD = {{
    "word": "btc-usd:perpetual.next/one", "text": "the exchange, said of it".replace(",", ""),
    "real": "-1.5e-7", "real?": "null", "decimal": "61837.63000000", "integer": "17",
    "flag": "false", "iso": "2026-02-13T13:09:22.668051-05:00",
    "zulu": "2026-02-13T18:09:22.123456789Z",
}}
read = parted = 0
for _ in range({rounds}):
    kinds = chance.choices(KINDS, k=chance.randrange(1, 6))
    steps = [(b",'"[: 2 * (at > 0)], kind, chance.random() < 0.8) for at, kind in enumerate(kinds)]
    steps.append((b"'", None, False))
    good = ",'".join(GOOD[kind] for kind in kinds).encode() + b"'"
    texts = []
    for _ in range(chance.randrange(1, 9)):
        text = bytearray(good)
        for _ in range(chance.choice((0, 0, 1, 2))):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(3))
        texts.append(bytes(text[: chance.choice((len(text), len(text), chance.randrange(99)))]))
    whole = b"\\n".join(texts)
    try:
        columns, fits, rest = speedups.read(tuple(steps), whole, whole.count(b"\\n") + 1)
    except ValueError:
        raise SystemExit("lines were miscounted")
    read += fits is None
    assert len(columns) == sum(kept for _, kind, kept in steps)
    try:
        speedups.read(tuple(steps), whole, chance.randrange(12))
    except ValueError:
        pass
    at = chance.randrange(-9, 9)
    seam = chance.choice(((b"", b"", b""), (b"',", b"'", b"<"), (b",", b"", b"")))
    try:
        speedups.part(texts, chance.choice((at, at, -sys.maxsize - 1)), b"-1tf2", *seam)
        parted += 1
    except LookupError:
        pass
gc.collect()
print(read, parted)
"""


def test_garbage_makes_the_extension_touch_nothing_but_its_own_memory(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc")
    asked = [compiler, "-print-file-name=libasan.so"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("gcc has no address sanitizer")
    subprocess.run(
        [
            *(compiler, "-g", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
            f"-I{sysconfig.get_paths()['include']}",
            *(str(SOURCE), "-o", str(tmp_path / "speedups.so")),
        ],
        timeout=120,
        check=True,
    )

    done = subprocess.run(
        [sys.executable, "-c", FUZZ.format(folder=str(tmp_path), rounds=20_000)],
        env={
            **os.environ,
            "LD_PRELOAD": library,
            "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter itself keeps what it has
            "PYTHONMALLOC": "malloc",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    read, parted = map(int, done.stdout.split())
    assert read > 1000
    assert parted > 100
