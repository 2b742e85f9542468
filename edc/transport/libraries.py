"""Which library carries the websockets."""

from typing import Literal

from edc.errors import ConfigError
from edc.transport import with_websockets
from edc.transport.sockets import Library

Choice = Literal["auto", "websockets", "picows"]


def library(choice: Choice) -> Library:
    """The library to use: `auto` takes picows where it is installed. Raises ConfigError."""
    if choice != "websockets":
        try:
            from edc.transport import with_picows  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            if choice == "picows":
                mend = "install it with: pip install 'edc[fast]', or choose \"auto\""
                raise ConfigError("[transport] websocket", f"{error}", mend) from None
        else:
            return with_picows.connect
    return with_websockets.connect
