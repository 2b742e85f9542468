"""Forms: a text has one or it has not, and its fields are read to the last digit.

All of it holds for both who read them: `Scanner`, in C, and `Cutter`, by Polars.
"""

import ctypes
import json
import struct
import sys
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from edc import parting, speedups, wire
from edc.cutting import Cutter, lines
from edc.forms import Form, Read, Reader
from edc.scanning import Scanner
from edc.times import parse_iso

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
PATTERN = (
    '{"s":"<name:word>","x":<x:real>,"y":<y:real?>,"p":"<p:decimal>","n":<n:integer>,"m":<m:flag>}'
)
GOOD = '{"s":"btc-usd","x":1.5,"y":null,"p":"0.10","n":7,"m":true}'
by_both = pytest.mark.parametrize("by", [Scanner, Cutter])


def read(by: Reader, *texts: str, pattern: str = PATTERN) -> Read:
    return Form(pattern, by).read("\n".join(texts).encode(), len(texts))


def cells(by: Reader, *texts: str, pattern: str = PATTERN) -> dict[str, list[object]]:
    """Of texts that all have the form."""
    found = read(by, *texts, pattern=pattern)
    assert found.fits is None
    assert found.rest == b""
    return {name: each.to_list() for name, each in found.cells.items()}


def fits(by: Reader, text: str, pattern: str = PATTERN) -> bool:
    found = read(by, text, pattern=pattern)
    assert Form(pattern, by).has(text.encode()) == (found.fits is None)
    assert found.rest == (b"" if found.fits is None else text.encode())
    return found.fits is None


def test_the_extension_is_what_is_used() -> None:
    assert Form(PATTERN).by is Scanner
    assert vars(wire)["part"] is speedups.part


@by_both
def test_the_fields_of_a_text(by: Reader) -> None:
    other = '{"s":"A.b:c/_1","x":-0.0,"y":1e-7,"p":"12","n":999999999999999999,"m":false}'
    assert cells(by, GOOD, other) == {
        "name": ["btc-usd", "A.b:c/_1"],
        "x": [1.5, -0.0],
        "y": [None, 1e-7],
        "p": [0.1, 12.0],
        "n": [7, 999_999_999_999_999_999],
        "m": [True, False],
    }


@by_both
def test_texts_that_have_the_form_are_read_and_the_others_handed_back(by: Reader) -> None:
    texts = ["", GOOD, GOOD.replace("7", "8"), "{}", GOOD.replace("btc", "b" * 20), GOOD + "}"]

    found = read(by, *texts)

    assert found.fits is not None
    assert found.fits.to_list() == [False, True, True, False, True, False]
    assert found.cells["n"].to_list() == [7, 8, 7]
    assert found.cells["name"].to_list() == ["btc-usd", "btc-usd", "b" * 20 + "-usd"]
    assert found.cells["y"].to_list() == [None, None, None]
    assert found.rest == b"\n{}\n" + GOOD.encode() + b"}"


@by_both
@pytest.mark.parametrize("number", [0, 1, 3])
def test_another_number_of_texts_than_was_said_is_refused(by: Reader, number: int) -> None:
    with pytest.raises(ValueError, match=r"lines"):
        Form(PATTERN, by).read(f"{GOOD}\n{GOOD}".encode(), number)


@by_both
@pytest.mark.parametrize("size", [0, 1, 11, 12, 13, 4000])
def test_a_text_is_read_whatever_its_length(by: Reader, size: int) -> None:
    texts = ["a" * size, "b" * 12, "~" * size]
    found = cells(by, *(f'["{each}"]' for each in texts), pattern='["<t:text>"]')
    assert found == {"t": texts}


@by_both
def test_what_is_not_kept_is_proven_all_the_same(by: Reader) -> None:
    pattern = '["<_a:word>",<_b:real>,<c:integer>,<_d:flag>,"<_e:zulu>",<_f:real?>]'
    good = '["a",1.5,7,true,"2026-02-13T18:09:22Z",null]'
    assert cells(by, good, pattern=pattern) == {"c": [7]}
    for this, becomes in (('"a"', '""'), ("1.5", "1."), ("true", "t"), ("22Z", "22"), ("null", "")):
        assert not fits(by, good.replace(this, becomes), pattern)


@by_both
def test_a_field_ends_where_it_ends_and_a_text_may_end_with_it(by: Reader) -> None:
    assert cells(by, "[true", "[false", pattern="[<m:flag>") == {"m": [True, False]}
    assert cells(by, "[0.5e9]", pattern="[<p:decimal>e9]") == {"p": [0.5]}
    many = "[" + "9" * 25 + "e9]"
    found = read(by, many, pattern="[<p:decimal>e9]")
    assert found.fits is not None or found.cells["p"].to_list() == [1e25]


@by_both
def test_a_carriage_return_is_of_no_form(by: Reader) -> None:
    try:
        assert not fits(by, GOOD + "\r")
    except ValueError as error:
        assert "carriage return" in str(error)  # noqa: PT017 - either is right


@by_both
@pytest.mark.parametrize(
    ("this", "becomes"),
    [
        *((GOOD, text) for text in ("", "{}", GOOD + " ", " " + GOOD, GOOD + GOOD, GOOD[:-1])),
        *(
            ("1.5", text)
            for text in ("+1.5", "01.5", "1.", ".5", "NaN", "inf", "null", '"1.5"', "")
        ),
        *(("1.5", text) for text in ("1_0", "1e", " 1.5", "1.5 ", "0x10", "\uff11", "-", "--1")),
        *(('"0.10"', text) for text in ("0.10", '"-0.1"', '"1e5"', '"00.1"', '""', '" 1"', '"1."')),
        *(("7", text) for text in ("-7", "7.0", "07", "1000000000000000000", "")),
        *(("true", text) for text in ("True", "1", "null", '"true"')),
        *(("btc-usd", text) for text in ("", "b,c", "b\\u0063", "b c", "bé", 'b"c', "b\tc")),
        ('"s":', '"s": '),
        ('"x"', '"z"'),
        ('"n":7,"m":true', '"m":true,"n":7'),
    ],
)
def test_what_differs_in_a_letter_has_not_the_form(by: Reader, this: str, becomes: str) -> None:
    changed = GOOD.replace(this, becomes, 1)
    assert changed != GOOD
    assert not fits(by, changed)


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


HARD = [
    *(
        "9007199254740993",
        "9007199254740992.5",
        "0.1",
        "9.999999999999999e299",
        "5e-324",
        "2e-324",
    ),
    *(
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "1e23",
        "8.5e22",
        "123456789012345678901",
    ),
    *("0.500000000000000166533453693773481063544750213623046875", "6.02214076e23", "1e-400", "0e9"),
    *("3.237883913302901e-319", "7.2057594037927933e16", "0." + "0" * 40 + "1", "1" + "0" * 60),
    *("0.18446744073709551616", "3.68934881474191032320", "73786976294838206464"),  # times 2**64
]
JSON_NUMBERS = (
    st.sampled_from(HARD)
    | st.floats(-1e300, 1e300).map(repr)
    | st.floats(0, 1e6).map(lambda number: f"{number:.25f}")
    | st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?\Z")
)


@by_both
@PROPERTY
@given(st.lists(JSON_NUMBERS, min_size=1, max_size=20))
def test_a_number_is_the_nearest_double(by: Reader, texts: list[str]) -> None:
    both = [f"[{text},{text}]" for text in texts]
    found = read(by, *both, pattern="[<alone:real>,<last:real?>]")
    assert found.fits is None
    want = [bits(float(text)) for text in texts]
    assert [bits(number) for number in found.cells["alone"]] == want
    assert [bits(number) for number in found.cells["last"]] == want


def test_an_exponent_is_read_to_its_end() -> None:
    """Polars does not: to the Cutter this is 0.1."""
    assert not fits(Scanner, "[0." + "0" * 100_001 + "1e1000010]", "[<x:real>]")


@by_both
@PROPERTY
@given(st.lists(st.decimals(0, 10**18, allow_nan=False), min_size=1, max_size=20))
def test_a_decimal_is_the_nearest_double(by: Reader, numbers: list[object]) -> None:
    texts = [f"{number:f}" for number in numbers]
    found = read(by, *(f'["{each}"]' for each in texts), pattern='["<p:decimal>"]')
    assert [bits(each) for each in found.cells["p"]] == [bits(float(each)) for each in texts]


DAMAGE = st.text(alphabet='{}[],:"\\eE+-.0123456789 nultrsaxfZT', max_size=30)


@by_both
@PROPERTY
@given(DAMAGE, st.integers(0, 70))
def test_what_has_the_form_is_json_with_the_same_values(by: Reader, change: str, at: int) -> None:
    text = GOOD[:at] + change + GOOD[at + len(change) :]
    if not fits(by, text):
        return
    told = json.loads(text)
    want = [told["s"], told["x"], told["y"], float(told["p"]), told["n"], told["m"]]
    assert list(cells(by, text).values()) == [[value] for value in want]


@by_both
@pytest.mark.parametrize("number", ["1.1e300", "-1e301", "1e999", "1" + "0" * 301])
def test_a_number_that_is_too_great_means_nothing(by: Reader, number: str) -> None:
    try:
        found = read(by, GOOD, GOOD.replace("1.5", number))
    except ValueError as error:
        assert "too great" in str(error)  # noqa: PT017 - either is right
    else:
        assert found.fits is not None
        assert found.fits.to_list() == [True, False]


MOMENTS = st.one_of(
    st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S")),
    st.sampled_from(
        [
            *("1678-01-01T00:00:00", "2261-12-31T23:59:59", "1677-12-31T23:59:59"),
            *("2262-01-01T00:00:00", "2024-02-29T00:00:00", "2023-02-29T00:00:00"),
            *("1900-02-29T00:00:00", "2000-02-29T23:59:59", "2026-04-31T00:00:00"),
            *("2026-00-10T00:00:00", "2026-13-10T00:00:00", "2026-01-00T00:00:00"),
            *("2026-01-01T24:00:00", "2026-01-01T23:60:00", "2026-12-31T23:59:60"),
            *(
                "2026-01-01 00:00:00",
                "2026-1-01T00:00:00",
                "2026-01-01T00:00",
                "0000-01-01T00:00:00",
            ),
        ]
    ),
)
FRACTIONS = st.from_regex(r"\A(\.[0-9]{0,10})?\Z") | st.from_regex(r"\A\.[0-9]{6}\Z")
ZONES = st.sampled_from(
    ["Z", "+00:00", "-05:30", "+14:00", "+23:59", "+24:00", "+05:60", "", "z", "+0500", "-00:00"]
)


@by_both
@PROPERTY
@given(MOMENTS, FRACTIONS, ZONES, st.sampled_from(["iso", "zulu"]))
def test_a_time_is_read_as_it_is_alone_or_not_at_all(
    by: Reader, moment: str, fraction: str, zone: str, kind: str
) -> None:
    time = moment + fraction + zone
    try:
        found = read(by, f'["{time}"]', pattern=f'["<t:{kind}>"]')
    except ValueError:
        found = Read(pl.Series([False]), {}, b"")
    try:
        want = parse_iso(time)
    except ValueError:
        assert found.fits is not None
        return
    odd = "+05:60" if by is Scanner else ""  # read alone, as six hours
    usual = "T" in moment and (len(fraction) == 7 if kind == "iso" else zone == "Z")
    assert (found.fits is None) == (usual and zone != odd)
    if found.fits is None:
        assert found.cells["t"].to_list() == [want]


@PROPERTY
@given(st.lists(st.tuples(DAMAGE, st.integers(0, 70)) | st.none(), min_size=1, max_size=12))
def test_both_read_the_same_of_many_texts(damages: list[tuple[str, int] | None]) -> None:
    texts = []
    for damage in damages:
        change, at = damage or ("", 0)
        texts.append(GOOD[:at] + change + GOOD[at + len(change) :])

    scanned, cut = read(Scanner, *texts), read(Cutter, *texts)

    assert scanned.rest == cut.rest
    assert (scanned.fits is None) == (cut.fits is None)
    if scanned.fits is not None and cut.fits is not None:
        assert scanned.fits.to_list() == cut.fits.to_list()
        if not scanned.fits.any():
            return
    assert_frame_equal(pl.DataFrame(scanned.cells), pl.DataFrame(cut.cells), check_exact=True)


def test_lines_are_counted() -> None:
    assert lines(b'a\n"b\n\xef\xbb\xbfc', 3).to_list() == ["a", '"b', "\ufeffc"]
    with pytest.raises(ValueError, match="3 lines of 2 texts"):
        lines(b"a\nb\nc", 2)
    with pytest.raises(pl.exceptions.PolarsError):
        lines(b"a\n\xff", 2)


PIECES = st.lists(st.sampled_from([b"a", b"k", b"key", b"},{", b"\n", b"[", b""]), max_size=6)


@PROPERTY
@given(
    st.lists(PIECES.map(b"".join), max_size=6),
    st.integers(-4, 4),
    st.sampled_from([b"k", b"ak", b"", b"[ka"]),
    st.sampled_from([(b"", b"", b""), (b"},{", b"}]", b"[{"), (b"a", b"", b"k")]),
)
def test_frames_are_parted_alike_in_c_and_in_python(
    frames: list[bytes], at: int, keys: bytes, seam: tuple[bytes, bytes, bytes]
) -> None:
    try:
        want = parting.part(frames, at, keys, *seam)
    except LookupError:
        with pytest.raises(LookupError):
            speedups.part(frames, at, keys, *seam)
    else:
        assert speedups.part(frames, at, keys, *seam) == want


def test_no_byte_is_further_from_the_end_than_a_frame_is_long() -> None:
    for part in (speedups.part, parting.part):
        assert part([b"kab"], -3, b"k", b"", b"", b"") == ([(ord("k"), b"kab", 1)], b"kab", 3)
        for at in (3, -4, sys.maxsize, -sys.maxsize, -sys.maxsize - 1):
            with pytest.raises(LookupError):
                part([b"kkk"], at, b"k", b"", b"", b"")


def test_messages_of_one_frame_are_parted_at_its_seams() -> None:
    frames = [b'[{"T":"q",1},{"T":"t",2},{"T":"q",3}]', b'[{"T":"t",4}]']
    seam = b'},{"T":"', b"}]", b'[{"T":"'
    for part in (speedups.part, parting.part):
        assert part(frames, 7, b"qt", *seam) == (
            [
                (ord("q"), b'[{"T":"q",1}]\n[{"T":"q",3}]', 2),
                (ord("t"), b'[{"T":"t",2}]\n[{"T":"t",4}]', 2),
            ],
            b'[{"T":"t",4}]',
            sum(map(len, frames)),
        )
        with pytest.raises(LookupError):
            part([*frames, b'[{"T":"b"}]'], 7, b"qt", *seam)


@pytest.mark.parametrize(
    "steps",
    [
        (),
        ((b"[", "word", True),),
        ((b"[", None, False), (b"]", None, False)),
        ((b"[", "number", True), (b"]", None, False)),
        ((b"[", 7, True), (b"]", None, False)),
        (["[", None, False],),
    ],
)
def test_what_is_no_form_is_refused(steps: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        speedups.read(steps, b"[]", 1)


def test_what_is_behind_the_last_field_is_no_column() -> None:
    assert speedups.read(((b"[]", None, True),), b"[]", 1) == ([], None, b"")


def test_only_bytes_are_read_since_they_end_with_a_nul() -> None:
    texts: Any = (ctypes.c_char * 2)(b"[", b"x")
    with pytest.raises(TypeError, match="bytes"):
        speedups.read(((b"[", "word", True), (b"", None, False)), texts, 1)
