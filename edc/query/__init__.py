"""SQL over lake and spool as one set of tables, each row once, beside whatever writes them.

    statement ─► tables ─► snapshot   the chunks of the spool, held before the lake is looked at
                       └─► listing    a partition as it was at one moment, its files open
                       └─► bounds     what a condition says of the time, so that little is read

A row is on its way from a chunk to a Parquet file, and from there to a compacted one. Chunks go
only after their rows are in the lake, so who looks at the spool first and at the lake afterwards
misses none; what he finds in both is one row by the lake's own rule (equal in every column but
`created_at`). Nothing is written, locked or asked of the daemon.
"""
