"""A trade that was pushed and the same trade from the vendor's history are one row."""

from edc.adapters import FeedPlan, HasSpans, Hole, alpaca, massive
from edc.adapters.alpaca.options import AlpacaFeedOptions, AlpacaVendorOptions
from edc.adapters.massive.options import MassiveFeedOptions, MassiveVendorOptions
from edc.times import parse_iso
from edc.transport import Frame

START, END = parse_iso("2021-02-22T15:51:00Z"), parse_iso("2021-02-22T15:52:00Z")


def test_alpaca() -> None:
    options = AlpacaFeedOptions(vendor="alpaca", channel="sip", symbols={"stock": ("aapl",)})
    plan = FeedPlan("alpaca", AlpacaVendorOptions(), options, "key", "secret")
    adapter = alpaca.VENDOR.build(plan)
    assert isinstance(adapter, HasSpans)
    pushed = adapter.decode(
        Frame(
            b'[{"T":"t","i":96921,"S":"AAPL","x":"D","p":126.55,"s":1,'
            b'"t":"2021-02-22T15:51:44.208Z","c":["@","I"],"z":"C"}]',
            1,
            1,
        )
    )
    asked = adapter.decode(
        Frame(
            b'{"trades":{"AAPL":[{"i":96921,"x":"D","p":126.55,"s":1,'
            b'"t":"2021-02-22T15:51:44.208Z","c":["@","I"],"z":"C"}]},"next_page_token":"abc"}',
            1,
            1,
            200,
        )
    )
    assert list(pushed) == list(asked)
    assert len(asked) == 1

    hole = Hole("aapl", None, None, START, END)
    first, second = adapter.page(hole, None), adapter.page(hole, asked)
    assert first is not None
    assert first.url == "https://data.alpaca.markets/v2/stocks/trades"
    assert first.params["symbols"] == "AAPL"
    assert first.params["feed"] == "sip"
    assert first.params["start"] == "2021-02-22T15:51:00.000000000+00:00"
    assert "page_token" not in first.params
    assert second is not None
    assert second.params["page_token"] == "abc"
    assert adapter.decode(Frame(b'{"trades":{},"next_page_token":null}', 1, 1, 200)) == []
    assert adapter.page(hole, []) is None


def test_massive() -> None:
    options = MassiveFeedOptions(vendor="massive", channel="stocks", symbols={"stock": ("msft",)})
    plan = FeedPlan("massive", MassiveVendorOptions(), options, "key")
    adapter = massive.VENDOR.build(plan)
    assert isinstance(adapter, HasSpans)
    pushed = adapter.decode(
        Frame(
            b'[{"ev":"T","sym":"MSFT","x":4,"i":"12345","z":3,"p":114.125,"s":100,'
            b'"c":[0,12],"t":1536036818784,"q":3681328}]',
            1,
            1,
        )
    )
    row = (
        b'{"results":[{"conditions":[0,12],"exchange":4,"id":"12345","price":114.125,"size":100,'
        b'"participant_timestamp":1536036818783999000,"sip_timestamp":1536036818784000000,'
        b'"sequence_number":3681328,"tape":3}],"status":"OK",'
        b'"next_url":"https://elsewhere.example/v3/trades/MSFT?cursor=YWN0"}'
    )
    asked = adapter.decode(Frame(row, 1, 1, 200, "trade MSFT"))
    assert list(pushed) == list(asked)
    assert len(asked) == 1

    second = adapter.page(Hole("msft", None, None, START, END), asked)
    assert second is not None
    assert second.url == "https://api.massive.com/v3/trades/MSFT"  # the key goes nowhere else
    assert second.params == {"cursor": "YWN0"}
