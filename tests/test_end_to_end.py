"""From a real socket to Parquet, read back as users do."""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import duckdb
import polars as pl

from edc.events import schema
from edc.metrics import LaneStats
from edc.simulator.tiingo import Faults, TiingoSimulator
from tests.harness import (
    ALL_CHANNELS,
    KEY,
    Process,
    Script,
    SimulatorProcess,
    read,
    running,
    serving,
    supervisor,
    until,
    until_events,
    write_config,
)

NEW_YORK = "America/New_York"
DUCKDB_TYPES = {
    "String": "VARCHAR",
    "Float64": "DOUBLE",
    "Int64": "BIGINT",
    f"Datetime(time_unit='ns', time_zone='{NEW_YORK}')": "TIMESTAMPTZ_NS",
}


def _trade(ticker: str, second: int, price: float, size: float = 1.0) -> bytes:
    stamp = f"2026-09-06T06:17:{second:02d}.000001+00:00"
    data = ["T", ticker, stamp, "gdax", size, price]
    return json.dumps({"service": "crypto_data", "messageType": "A", "data": data}).encode()


ACK = b'{"response":{"code":200,"message":"Success"},"data":{"subscriptionId":1},"messageType":"I"}'


async def test_n_distinct_events_cut_off_twice_and_repeated_are_exactly_n_rows(
    tmp_path: Path,
) -> None:
    """Each of the two connections after a cut begins with the last 100 events again."""
    faults = Faults(cut_after=[400, 700], replay=100)
    simulator = TiingoSimulator(key=KEY, rate=2000, events=1000, faults=faults, record=True)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        async with running(daemon):
            await until_events(daemon, 1200)

    frames = simulator.frames["crypto_data"]
    sent = {frame: json.loads(frame)["data"] for frame in frames}
    assert (len(frames), len(sent)) == (1200, 1000)
    trades, quotes = read(tmp_path / "lake", "trade"), read(tmp_path / "lake", "quote")
    kinds = Counter(data[0] for data in sent.values())
    assert (trades.height, quotes.height) == (kinds["T"], kinds["Q"])
    lake = {
        *trades.select("symbol", "exchange", "last_size", "last_price").iter_rows(),
        *quotes.select(
            "symbol", "exchange", "bid_size", "bid", "mid", "ask_size", "ask"
        ).iter_rows(),
    }
    assert lake == {(data[1], *data[3:]) for data in sent.values()}


async def test_polars_and_duckdb_read_the_same_rows_types_and_zone(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=2000, events=200)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, feeds=ALL_CHANNELS))
        async with running(daemon):
            # the two iex feeds share the service's 200 events
            await until_events(daemon, 600)

    total = 0
    for kind in ("trade", "quote", "ref_px"):
        polars = read(tmp_path / "lake", kind)
        assert dict(polars.schema) == schema(kind, NEW_YORK)
        assert polars["event_type"].unique().to_list() == [kind]
        with duckdb.connect() as connection:
            connection.execute(f"set timezone = '{NEW_YORK}'")
            files = (
                f"read_parquet('{tmp_path}/lake/{kind}/**/*.parquet', hive_partitioning = false)"
            )
            table = connection.sql(f"select * from {files}")
            types = dict(zip(table.columns, map(str, table.types), strict=True))
            (shown,) = connection.sql(f"select event_time from {files} limit 1").fetchall()
            rows = connection.sql(
                "select * replace (epoch_ns(event_time) as event_time,"
                f" epoch_ns(created_at) as created_at) from {files}"
            ).fetchall()
        assert types == {name: DUCKDB_TYPES[str(dtype)] for name, dtype in polars.schema.items()}
        assert Counter(rows) == Counter(
            polars.with_columns(pl.col(pl.Datetime).to_physical()).rows()
        )
        assert str(shown[0].tzinfo) == NEW_YORK
        total += polars.height
    assert total == 600


async def test_nanoseconds_of_iex_arrive_in_the_lake(tmp_path: Path) -> None:
    frame = (
        b'{"messageType":"A","service":"iex","data":'
        b'["2019-01-30T13:33:45.383129126-05:00","vym",81.585]}'
    )
    feeds = """
[feeds.stocks]
vendor = "tiingo"
channel = "iex"
symbols = { etf = ["vym"] }
"""
    async with Script([ACK, frame]) as server:
        daemon = supervisor(write_config(tmp_path, server.url, feeds=feeds))
        async with running(daemon):
            await until_events(daemon, 1)

    (path,) = (tmp_path / "lake" / "ref_px").rglob("*.parquet")
    assert path.parent == tmp_path / "lake" / "ref_px" / "date=2019-01-30" / "hour=13"
    row = pl.read_parquet(path, hive_partitioning=False).row(0, named=True)
    times = pl.read_parquet(path, hive_partitioning=False)["event_time"].to_physical()
    assert times.to_list() == [1548873225383129126]
    del row["event_time"], row["created_at"]
    assert row == {
        "asset_type": "etf",
        "event_type": "ref_px",
        "symbol": "vym",
        "price": 81.585,
        "price_type": "reference",
        "vendor": "tiingo",
        "source": "tiingo_iex",
        "exchange": "IEX",
        "sequence": None,
    }


async def test_two_equal_trades_on_one_connection_stay_two_and_come_again_as_none(
    tmp_path: Path,
) -> None:
    twice = _trade("btcusd", 23, 100.0)
    once = _trade("btcusd", 24, 101.0)
    async with Script([ACK, twice, twice, once], [ACK, twice, twice, once, once]) as server:
        daemon = supervisor(write_config(tmp_path, server.url))
        async with running(daemon):
            await until_events(daemon, 7)

    rows = read(tmp_path / "lake", "trade").sort("event_time", "ordinal")
    assert rows.select("last_price", "ordinal").rows() == [
        (100.0, 0),
        (100.0, 1),
        (101.0, 0),
        (101.0, 1),
    ]


async def test_rows_already_in_the_lake_are_not_written_by_a_later_run(tmp_path: Path) -> None:
    frames = [ACK, *(_trade("btcusd", second, 100.0 + second) for second in range(30))]
    for run in (1, 2):
        async with Script(frames) as server:
            daemon = supervisor(write_config(tmp_path, server.url))
            async with running(daemon):
                await until_events(daemon, 30)
        assert read(tmp_path / "lake", "trade").height == 30
        assert daemon.lanes["trade"].stats.rows_written == (30 if run == 1 else 0)


async def test_edc_flush_makes_the_rows_appear_at_once(tmp_path: Path) -> None:
    frames = [ACK, *(_trade("btcusd", second, 100.0 + second) for second in range(10))]
    async with Script(frames) as server:
        path = write_config(tmp_path, server.url)
        daemon = supervisor(path)
        async with running(daemon):
            await until_events(daemon, 10)
            assert read(tmp_path / "lake", "trade").is_empty()

            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "edc", "flush", "--config", str(path), "--json"),
                stdout=asyncio.subprocess.PIPE,
            )
            answer = json.loads((await process.communicate())[0])

            assert answer["trade"]["rows"] == 10
            assert read(tmp_path / "lake", "trade").height == 10
            assert [str(path) for path in (tmp_path / "lake" / "trade").rglob("*.parquet")] == (
                answer["trade"]["files"]
            )


def _written(stats: LaneStats, rows: int) -> bool:
    return stats.rows_written == rows


async def test_a_batch_is_due_by_rows_and_by_age(tmp_path: Path) -> None:
    frames = [ACK, *(_trade("btcusd", second, 100.0 + second) for second in range(40))]
    for setting in ('max_rows = 40\nmax_age = "1h"', 'max_rows = 1000000\nmax_age = "300ms"'):
        folder = tmp_path / str(len(setting))
        folder.mkdir()
        async with Script(frames) as server:
            path = write_config(folder, server.url, more=f"[batch]\n{setting}\n")
            daemon = supervisor(path)
            async with running(daemon):
                stats = daemon.lanes["trade"].stats
                await until(partial(_written, stats, 40))


async def test_frames_that_cannot_be_used_are_kept_raw_and_the_feed_goes_on(
    tmp_path: Path,
) -> None:
    unknown = b'{"service":"crypto_data","messageType":"A","data":["Z","btcusd"]}'
    broken = b'{"service":"crypto_data","messa'
    frames = [ACK, unknown, _trade("btcusd", 1, 1.0), broken, _trade("btcusd", 2, 2.0)]
    async with Script(frames) as server:
        daemon = supervisor(write_config(tmp_path, server.url))
        async with running(daemon):
            await until_events(daemon, 2)
        stats = daemon.feeds[0].stats

    assert dict(stats.skipped) == {"unknown": 1, "malformed": 1}
    assert stats.connects == 1
    kept = [
        json.loads(line)
        for line in (tmp_path / "lake" / ".dead" / "crypto.jsonl").read_text().splitlines()
    ]
    assert [entry["text"].encode() for entry in kept] == [unknown, broken]
    assert [entry["reason"] for entry in kept] == ["unknown", "malformed"]
    assert read(tmp_path / "lake", "trade")["last_price"].to_list() == [1.0, 2.0]
    gaps = read(tmp_path / "lake", "gap")
    assert set(gaps["cause"]) == {"undecodable"}


async def test_all_polled_channels_fill_the_tables_and_unchanged_rows_are_dropped(
    tmp_path: Path,
) -> None:
    feeds = "".join(
        f"""
[feeds.{channel}]
vendor = "tiingo"
channel = "{channel}_rest"
interval = "1s"
symbols = {{ {kind} = {symbols} }}
"""
        for channel, kind, symbols in (
            ("iex", "stock", '["aapl", "brk-b"]'),
            ("fx", "fx", '["eurusd", "gbpaud"]'),
            ("crypto", "crypto", '["btcusd", "ethusd"]'),
        )
    )
    simulator = TiingoSimulator(key=KEY)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, simulator.rest_url, feeds=feeds))
        async with running(daemon):
            await until(lambda: simulator.requests >= 12)
            await until(lambda: all(len(queue) == 0 for queue in daemon.queues.values()))

    received = {kind: lane.stats.rows_spooled for kind, lane in daemon.lanes.items()}
    for kind, sources in {
        "trade": {"tiingo_iex_rest", "tiingo_crypto_rest"},
        "quote": {"tiingo_iex_rest", "tiingo_fx_rest", "tiingo_crypto_rest"},
        "ref_px": {"tiingo_iex_rest"},
    }.items():
        rows = read(tmp_path / "lake", kind)
        assert set(rows["source"]) == sources
        assert 0 < rows.height < received[kind]
        assert rows.unique(["symbol", "source", "event_time"]).height == rows.height
    assert read(tmp_path / "lake", "gap").is_empty()


def test_sigterm_at_50_000_events_a_second_ends_within_ten_seconds_and_loses_nothing(
    tmp_path: Path,
) -> None:
    simulator = SimulatorProcess(tmp_path, rate=50_000)
    path = write_config(tmp_path, simulator.url)
    daemon = Process("run", "--config", str(path), cwd=tmp_path)
    socket = tmp_path / "lake" / ".spool" / "main" / "control.sock"
    end = time.monotonic() + 30
    while not list((tmp_path / "lake").glob("trade/**/*.parquet")):
        assert time.monotonic() < end, daemon.output
        time.sleep(0.05)
    daemon.process.send_signal(signal.SIGTERM)
    asked = time.monotonic()

    assert daemon.wait(15) == 0
    assert time.monotonic() - asked < 10
    sent = simulator.end()["crypto_data"]
    rows = sum(read(tmp_path / "lake", kind).height for kind in ("trade", "quote"))
    assert rows == sent
    assert sent > 100_000
    assert not socket.exists()
    assert not list((tmp_path / "lake" / ".spool").rglob("*.arrow"))


def test_a_second_signal_stops_at_once_and_the_spool_keeps_the_rest(tmp_path: Path) -> None:
    simulator = SimulatorProcess(tmp_path, rate=2000)
    path = write_config(tmp_path, simulator.url, more='[batch]\nmax_age = "1h"\n')
    daemon = Process("run", "--config", str(path), cwd=tmp_path)
    spool = tmp_path / "lake" / ".spool" / "main" / "trade"
    end = time.monotonic() + 30
    while not list(spool.glob("[0-9]*.arrow")):
        assert time.monotonic() < end, daemon.output
        time.sleep(0.02)
    daemon.process.send_signal(signal.SIGSTOP)  # so that both are there when it wakes up
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGINT)
    daemon.process.send_signal(signal.SIGCONT)

    assert daemon.wait(5) == 1
    simulator.end()
    assert "stopped at once" in daemon.output
    spooled = sum(int(chunk.name.split("-")[2]) for chunk in spool.glob("[0-9]*.arrow"))
    flush = Process("flush", "--config", str(path), "--json", cwd=tmp_path)
    assert flush.wait() == 0
    assert json.loads(flush.output)["trade"]["rows"] == spooled > 0
