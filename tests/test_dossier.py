"""Every literal message of the dossiers stands in a fixture, or has its reason why not."""

import pytest

from tests import dossier
from tests.dossier import DOSSIERS, literals, parts, written

NAMES = ("crypto", "stock_fx")
FEW = 100
"""Fewer than these are no dossier: the reader has gone wrong."""


@pytest.mark.parametrize("name", NAMES)
def test_every_literal_message_is_in_a_fixture_or_named_with_a_reason(name: str) -> None:
    path = DOSSIERS / f"{name}.md"
    if not path.exists():
        pytest.skip("the folder of dossiers is not here")
    found = literals(path)
    assert len(found) > FEW
    excepted = {
        (vendor, text): reason
        for vendor, reasons in dossier.exceptions(name).items()
        for reason, texts in reasons.items()
        for text in texts
    }
    shown = {
        vendor: {part for frame in dossier.frames(vendor) for part in parts(frame)}
        for literal in found
        for vendor in literal.vendors
    }

    missing, needless, used = [], [], set()
    for vendors, text, value in found:
        stands = any(
            (written(value) if value is not None else repr(text)) in shown[vendor]
            for vendor in vendors
        )
        keys = {(vendor, text) for vendor in vendors} & excepted.keys()
        used |= keys
        if stands and keys:
            needless.append((vendors, text))
        elif not stands and not keys:
            missing.append((vendors, text))

    assert missing == []
    assert needless == [], "exceptions that stand in a fixture"
    assert excepted.keys() - used == set(), "exceptions that are no literal of the dossier"


def test_a_literal_is_read_as_it_is_written() -> None:
    line = 'text `{"p":0.10,"q":["a",{"b":1}]}` and `{"E":..}`, [C1] and [2]'

    found = list(dossier._of_line(line, fenced=False))

    assert [text for text, _ in found] == ['{"p":0.10,"q":["a",{"b":1}]}', '{"E":..}']
    assert written(found[0][1]) != written(dossier.read('{"p":0.1,"q":["a",{"b":1}]}'))
    assert written(dossier.read('{"b":1}')) in set(parts(found[0][1]))
