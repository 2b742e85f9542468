"""What Coinbase trades, as either API lists it."""

from collections.abc import Sequence

import msgspec

from edc.adapters import Instrument, VendorOptions
from edc.adapters.coinbase.messages import Product, Products
from edc.adapters.coinbase.options import CoinbaseVendorOptions
from edc.adapters.coinbase.rows import AGENT
from edc.rows import listed, refused
from edc.transport import Frame, Request


def lists(options: VendorOptions, channel: str) -> Sequence[Request]:
    """What the list of a channel is asked for with."""
    assert isinstance(options, CoinbaseVendorOptions)
    if channel != "advanced":
        return [Request(f"{options.rest_url}/products", headers=AGENT)]
    url = f"{options.advanced_rest_url}/api/v3/brokerage/market/products"
    return [Request(url, {"product_type": "SPOT"}, AGENT, about="advanced")]


def instruments(frame: Frame) -> Sequence[Instrument]:
    """The products of either API."""
    if not frame.about:
        found = [msgspec.json.decode(raw, type=Product) for raw in listed(frame, "Coinbase")]
        return [Instrument(each.id, each.base_currency, each.quote_currency) for each in found]
    wrong = refused(frame, "Coinbase", frame.data.decode(errors="replace"))
    if wrong is not None:
        raise wrong
    products = msgspec.json.decode(frame.data, type=Products).products
    return [
        Instrument(each.product_id, each.base_currency_id, each.quote_currency_id)
        for each in products
    ]
