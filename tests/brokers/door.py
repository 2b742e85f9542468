"""The door of a broker: its clients come and go by it, and nobody does while it is shut.

A broker that goes on confirming while it saves what it keeps forgets what it has confirmed then. If
its door is shut first, nobody gets such a confirmation: what its clients have been told, it keeps.
"""

import asyncio
import struct
import threading

from tests.torture.proxy import Proxy

_HOST = b"127.0.0.1"


def kafka_proxy(port: int) -> Proxy:
    """A client goes where the broker says that it is: so the proxy says that it is here."""

    def passed(data: bytes) -> bytes:
        return data.replace(_HOST + struct.pack(">i", port), _HOST + struct.pack(">i", made.port))

    made = Proxy(port, passed)
    return made


class Door:
    """A proxy in a thread of its own; `port` is where clients knock. Shut until it is opened."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        proxy.shut = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(proxy.__aenter__(), self._loop).result()
        self.port = proxy.port

    def open(self) -> None:
        """Whoever knocks is let in."""
        self._proxy.shut = False

    def shut(self) -> None:
        """Everybody is out, and told nothing more, when this returns."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()

    async def _shut(self) -> None:
        self._proxy.shut = True
        self._proxy.bury(living=True)

    def remove(self) -> None:
        """Shut for good."""
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
