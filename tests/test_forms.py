"""Forms: a text has one or it has not, and its fields are read to the last digit."""

import json
import struct

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc.forms import Form, lines

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
FORM = Form(
    '{"s":"<name:word>","x":<x:real>,"y":<y:real?>,"p":"<p:decimal>","n":<n:integer>,"m":<m:flag>}'
)
GOOD = '{"s":"btc-usd","x":1.5,"y":null,"p":"0.10","n":7,"m":true}'


def cells(*texts: str) -> dict[str, list[object]]:
    return {name: each.to_list() for name, each in FORM.cells("\n".join(texts).encode()).items()}


def fits(text: str) -> bool:
    (found,) = FORM.fits(pl.Series([text]))
    return bool(found)


def test_the_fields_of_a_text() -> None:
    other = '{"s":"A.b:c/_1","x":-0.0,"y":1e-7,"p":"12","n":999999999999999999,"m":false}'
    assert fits(GOOD)
    assert fits(other)
    assert cells(GOOD, other) == {
        "name": ["btc-usd", "A.b:c/_1"],
        "x": [1.5, -0.0],
        "y": [None, 1e-7],
        "p": [0.1, 12.0],
        "n": [7, 999_999_999_999_999_999],
        "m": [True, False],
    }


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
def test_what_differs_in_a_letter_has_not_the_form(this: str, becomes: str) -> None:
    changed = GOOD.replace(this, becomes, 1)
    assert changed != GOOD
    assert not fits(changed)


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
]
JSON_NUMBERS = (
    st.sampled_from(HARD)
    | st.floats(-1e300, 1e300).map(repr)
    | st.floats(0, 1e6).map(lambda number: f"{number:.25f}")
    | st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?\Z")
)


@PROPERTY
@given(st.lists(JSON_NUMBERS, min_size=1, max_size=20))
def test_a_number_is_the_nearest_double(texts: list[str]) -> None:
    form = Form("[<alone:real>,<last:real?>]")
    both = [f"[{text},{text}]" for text in texts]
    assert form.fits(pl.Series(both)).all()
    found = form.cells("\n".join(both).encode())
    want = [bits(float(text)) for text in texts]
    assert [bits(number) for number in found["alone"]] == want
    assert [bits(number) for number in found["last"]] == want


@PROPERTY
@given(st.lists(st.decimals(0, 10**18, allow_nan=False), min_size=1, max_size=20))
def test_a_decimal_is_the_nearest_double(numbers: list[object]) -> None:
    texts = [f"{number:f}" for number in numbers]
    found = Form('["<p:decimal>"]').cells("\n".join(f'["{each}"]' for each in texts).encode())
    assert [bits(each) for each in found["p"]] == [bits(float(each)) for each in texts]


@PROPERTY
@given(st.text(alphabet='{}[],:"\\eE+-.0123456789 nultrsaxf\n', max_size=30), st.integers(0, 70))
def test_what_has_the_form_is_json_with_the_same_values(change: str, at: int) -> None:
    text = GOOD[:at] + change + GOOD[at + len(change) :]
    if "\n" in text or not fits(text):
        return
    told = json.loads(text)
    want = [told["s"], told["x"], told["y"], float(told["p"]), told["n"], told["m"]]
    assert [value for (value,) in cells(text).values()] == want


@pytest.mark.parametrize("number", ["1.1e300", "-1e301", "1e999"])
def test_a_number_that_is_too_great_means_nothing(number: str) -> None:
    text = GOOD.replace("1.5", number)
    assert fits(text)
    with pytest.raises(ValueError, match="too great"):
        cells(GOOD, text)


def test_lines_are_counted() -> None:
    assert lines(b'a\n"b\n\xef\xbb\xbfc', 3).to_list() == ["a", '"b', "\ufeffc"]
    with pytest.raises(ValueError, match="3 lines of 2 texts"):
        lines(b"a\nb\nc", 2)
    with pytest.raises(pl.exceptions.PolarsError):
        lines(b"a\n\xff", 2)
