"""edc: live market data into a Parquet lake that is true.

    config.toml ─► config ─► plan ─► supervisor    builds everything, starts the last stage first
                                         │
    vendor ─► transport ─► adapter.decode ─► queue ─► spool ─► sink ─► lake ◄─ inspect
              websocket    pure: no I/O,     bounded  Arrow    dedupe, Parquet
              stream, poll no clock                   chunks   atomic
              webhook
              └────── ingest ──────────────────┘ └───── deliver ────┘

Read in this order: events (the nouns), adapters (the contract, with options and history, then one
vendor), transport, ingest, queues, deliver, spool, sinks, lake, parts, supervisor, cli; writers
says whose turn it is on a busy processor. What ingest knows of a feed has a file each: lines (its
connections), reach (how far it has got), holes (numbers that were left out), unsubscribed (symbols
that do not come). What becomes of files later: upkeep (merged, removed, set aside), audit (is it
all there?). A feed's commonest frames take a short way (wire): they pass the queue as they came
(shortway), and chunks makes columns of the text of many (forms), in C where a compiler was at hand
(speedups.c). What is said to vendors besides data: transport/conversation; how one connection
follows another: relay; how gaps are filled: healing. Where collectors and stores are apart, a
broker is between spool and lake: bus (the contract), roles, consumer.
"""

from importlib.metadata import version

__version__ = version("edc")
"""Of the installed package; looked up once, since the look-up searches the whole path."""
