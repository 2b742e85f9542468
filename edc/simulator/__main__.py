"""`python -m edc.simulator [--rate 20000] [--events N]`: a vendor in a process of its own.

Prints one JSON object with its URLs, serves until it is told to end (SIGTERM, Ctrl-C or the end of
its standard input), and then prints one with the number of events sent on each channel.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import threading

from edc.simulator.tiingo import TiingoSimulator


async def _serve(options: argparse.Namespace) -> None:
    simulator = TiingoSimulator(
        key=options.key, rate=options.rate, seed=options.seed, events=options.events
    )
    await simulator.start(options.port)
    _say({"url": simulator.url, "rest_url": simulator.rest_url})
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    threading.Thread(target=_until_end_of_input, args=(loop, ended), daemon=True).start()
    await ended.wait()
    await simulator.stop()
    _say({"sent": simulator.sent})


def _until_end_of_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """A thread, because standard input may be anything; unbuffered, so that exit needs no lock."""
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended first
        loop.call_soon_threadsafe(ended.set)


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the simulator from the command line."""
    parser = argparse.ArgumentParser(prog="python -m edc.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1000.0, help="events a second, each channel")
    parser.add_argument("--events", type=int, help="events on each channel, then silence")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--key", default="demo-key")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
