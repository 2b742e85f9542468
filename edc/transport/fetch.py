"""One request of a REST endpoint, and its answer as a frame."""

from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime

import httpx

from edc.errors import EdcError, Fatal, Retriable
from edc.transport import Frame, Request

Client = httpx.AsyncClient
Parts = AsyncIterator[bytes]
_TIMEOUT = 15.0
_MOST_BYTES = 32 * 1024 * 1024


def client(*urls: str) -> Client:
    """What requests are made with. Redirects are not followed, since the key would go with them.

    Certificates are read unless all of `urls` do without: that takes longer than all the rest.
    """
    plain = bool(urls) and all(url.startswith("http:") for url in urls)
    return httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, verify=not plain)


async def fetch(
    by: Client, request: Request, epoch: Callable[[], int], now_ns: Callable[[], int]
) -> Frame:
    """The answer to a request, of the connection `epoch`. Raises Fatal or Retriable."""
    try:
        async with by.stream(
            "GET" if request.body is None else "POST",
            request.url,
            params=request.params or None,
            headers=request.headers,
            content=request.body,
        ) as response:
            data = bytearray()
            async for part in response.aiter_bytes():
                data += part
                if len(data) > _MOST_BYTES:
                    raise Retriable("refused", f"{request.url} answered over {_MOST_BYTES} bytes")
    except Exception as error:
        raise translated(error) from error
    return Frame(
        *(bytes(data), now_ns(), epoch(), response.status_code, request.about),
        _dated(response.headers.get("Date", "")),
    )


def _dated(text: str) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):  # none, or not what RFC 9110 says
        return None


def translated(error: Exception) -> EdcError:
    """The library's error as one of ours: the only place that knows both."""
    match error:
        case EdcError():
            return error
        case httpx.TimeoutException():
            return Retriable("timeout", f"no answer in {_TIMEOUT:g} s ({type(error).__name__})")
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return Fatal(f"no usable url: {error}", "correct the vendor's rest_url")
        case httpx.HTTPError():
            return Retriable("disconnected", f"{type(error).__name__}: {error}")
        case _:
            raise error
