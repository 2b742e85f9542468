"""The house rules that can be read off the source: who imports whom, who prints, what is said."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "edc"
SOURCES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text()) for module, path in SOURCES.items()}

NOBODY: tuple[str, ...] = ()

SEES = {
    "edc": NOBODY,
    "edc.__main__": ("cli",),
    # The nouns, and what has nothing to do with markets.
    "edc.errors": NOBODY,
    "edc.events": NOBODY,
    "edc.times": NOBODY,
    "edc.retry": NOBODY,
    "edc.fields": NOBODY,
    "edc.book": NOBODY,
    "edc.files": ("errors",),
    "edc.repeats": NOBODY,
    "edc.logs": ("repeats", "times"),
    "edc.notify": ("logs",),
    "edc.markets": ("times",),
    # The contracts, and those who keep them.
    "edc.transport": NOBODY,
    "edc.cutting": ("times",),
    "edc.scanning": ("cutting", "speedups"),
    "edc.forms": ("cutting", "scanning"),
    "edc.parting": (),
    "edc.wire": ("events", "forms", "parting", "speedups"),
    "edc.transport.posting": ("retry", "transport", "transport.fetch", "transport.webhook"),
    "edc.options": ("times",),
    "edc.history": ("events", "transport"),
    "edc.adapters": ("errors", "events", "history", "options", "transport", "wire"),
    "edc.sinks": NOBODY,
    # The bus: the contract, what travels, and one file for each broker.
    "edc.bus": NOBODY,
    "edc.bus.settings": ("errors", "logs", "options"),
    "edc.bus.messages": ("bus", "bus.settings", "errors", "events"),
    "edc.bus.shares": ("bus", "events", "files"),
    "edc.bus.redis": ("bus", "bus.settings", "errors", "events"),
    "edc.bus.nats": ("bus", "bus.settings", "errors", "events"),
    "edc.bus.rabbitmq": ("bus", "bus.settings", "errors", "events"),
    "edc.bus.kafka": (
        *("bus", "bus.kafka_log", "bus.kafka_reader", "bus.kafka_topics", "bus.settings"),
        *("errors", "events", "retry"),
    ),
    "edc.bus.kafka_log": NOBODY,
    "edc.bus.kafka_reader": ("bus", "bus.kafka_log", "errors"),
    "edc.bus.kafka_topics": ("bus", "bus.settings", "errors", "events"),
    "edc.bus.brokers": (
        *("bus", "bus.kafka", "bus.nats", "bus.rabbitmq", "bus.redis", "bus.settings", "errors"),
    ),
    "edc.sinks.bus": ("bus", "bus.messages", "bus.settings", "errors", "sinks"),
    "edc.consumer": (
        *("bus", "bus.messages", "bus.shares", "errors", "metrics", "retry", "sinks"),
    ),
    "edc.roles": (
        *("bus", "bus.brokers", "bus.settings", "bus.shares", "consumer", "errors", "events"),
        *("metrics", "retry", "settings", "sinks", "sinks.bus"),
    ),
    "edc.staleness": ("adapters",),
    "edc.transport.poll": ("adapters", "retry", "transport", "transport.fetch"),
    "edc.transport.fetch": ("errors", "transport"),
    "edc.transport.stream": (
        *("adapters", "errors", "staleness", "transport", "transport.fetch", "transport.sockets"),
    ),
    "edc.transport.webhook": ("adapters", "errors", "options", "times", "transport"),
    "edc.transport.sockets": ("errors", "transport"),
    "edc.transport.websocket": (
        *("adapters", "errors", "staleness", "transport", "transport.conversation"),
        "transport.sockets",
    ),
    "edc.transport.conversation": ("adapters", "errors", "transport", "transport.sockets"),
    "edc.binance_wire": (
        *("adapters", "errors", "events", "fields", "rows", "times", "transport"),
    ),
    "edc.rows": ("errors", "events", "fields", "history", "symbols", "transport"),
    "edc.symbols": ("adapters", "errors", "events", "wire"),
    "edc.transport.with_websockets": ("errors", "transport", "transport.sockets"),
    "edc.transport.with_picows": ("errors", "transport", "transport.sockets"),
    "edc.transport.libraries": (
        *("errors", "transport.sockets", "transport.with_picows", "transport.with_websockets"),
    ),
    "edc.sinks.parquet": ("errors", "events", "lake", "sinks"),
    # The two loops and what they are made of.
    "edc.latency": NOBODY,
    "edc.queues": ("events", "wire"),
    "edc.chunks": ("events", "wire"),
    "edc.ledger": ("events", "files", "queues"),
    "edc.sequences": ("events",),
    "edc.untimed": ("events",),
    "edc.watermarks": ("files", "times"),
    "edc.bookkeeping": (
        *("deliver", "errors", "events", "feeds", "files", "ledger", "retry", "watermarks"),
    ),
    "edc.metrics": ("latency", "sinks", "times"),
    "edc.alerts": ("events", "metrics"),
    "edc.alerting": ("alerts", "events", "logs", "retry", "settings", "transport.posting"),
    "edc.exposition": ("bus", "latency", "metrics", "queues", "times"),
    "edc.deadletters": ("errors", "logs", "transport"),
    "edc.relay": ("adapters", "errors", "logs", "retry", "transport"),
    "edc.lines": ("events", "metrics", "times", "transport", "wire"),
    "edc.reach": ("events", "ledger", "lines", "metrics", "queues", "times", "watermarks"),
    "edc.holes": ("events", "history", "ledger", "lines", "reach", "sequences", "wire"),
    "edc.unsubscribed": ("events", "ledger", "lines", "logs", "metrics", "reach"),
    "edc.shortway": (
        *("events", "holes", "lines", "metrics", "queues", "reach", "transport", "wire"),
    ),
    "edc.ingest": (
        *("adapters", "deadletters", "errors", "events", "history", "holes", "latency", "ledger"),
        *("lines", "logs", "metrics", "queues", "reach", "sequences", "shortway", "transport"),
        *("unsubscribed", "untimed", "watermarks"),
    ),
    "edc.spool": ("errors", "events", "files"),
    "edc.deliver": (
        *("chunks", "errors", "events", "files", "latency", "metrics", "queues", "retry", "sinks"),
        *("spool", "wire", "writers"),
    ),
    "edc.writers": NOBODY,
    # The lake at rest.
    "edc.seal": NOBODY,
    "edc.partitions": ("files", "seal", "times"),
    "edc.volumes": ("errors", "files", "partitions", "seal"),
    "edc.object_store": ("errors", "seal"),
    "edc.claim": ("errors", "events", "volumes"),
    "edc.encoding": ("events", "seal"),
    "edc.lake": ("claim", "encoding", "events", "files", "partitions", "seal", "volumes", "times"),
    "edc.backends": (
        *("errors", "files", "lake", "object_store", "settings", "sinks", "sinks.delta"),
        *("sinks.parquet", "volumes"),
    ),
    "edc.sinks.delta": (
        *("claim", "encoding", "events", "files", "lake", "partitions", "seal", "sinks"),
        "volumes",
    ),
    "edc.upkeep.delta": (
        *("events", "files", "partitions", "sinks.delta", "times", "upkeep.compaction"),
        *("upkeep.offstage", "upkeep.retention"),
    ),
    "edc.upkeep": NOBODY,
    "edc.upkeep.offstage": ("files",),
    "edc.upkeep.swap": ("errors", "files"),
    "edc.upkeep.merging": ("errors", "events", "files", "footers", "seal", "times"),
    "edc.upkeep.quarantine": (
        *("events", "files", "footers", "lake", "partitions", "seal", "upkeep.swap"),
    ),
    "edc.upkeep.compaction": (
        *("errors", "events", "files", "footers", "lake", "partitions", "seal"),
        *("upkeep.merging", "upkeep.offstage", "upkeep.quarantine", "upkeep.swap"),
    ),
    "edc.upkeep.retention": ("upkeep.offstage", "times"),
    "edc.distribution": ("latency", "times"),
    "edc.plots": NOBODY,
    "edc.report": ("distribution", "inspection", "live", "logs"),
    "edc.inspection": ("distribution", "errors", "events", "footers", "seal", "spool"),
    "edc.footers": ("events",),
    "edc.query": NOBODY,
    "edc.query.bounds": ("times",),
    "edc.query.listing": ("upkeep.compaction", "upkeep.offstage"),
    "edc.query.tables": (
        *("errors", "events", "footers", "lake", "partitions", "query.bounds", "query.listing"),
        *("seal", "spool"),
    ),
    "edc.query.holdings": ("events", "footers", "lake", "partitions", "query.tables"),
    "edc.query.statement": (
        *("errors", "events", "explain", "footers", "lake", "query.tables", "times"),
    ),
    "edc.audit": NOBODY,
    "edc.audit.duplicates": ("events",),
    "edc.audit.tally": ("events", "times"),
    "edc.audit.soundness": (
        *("audit.duplicates", "audit.tally", "events", "footers", "lake", "seal"),
        *("upkeep.compaction",),
    ),
    "edc.audit.coverage": ("markets", "times"),
    "edc.audit.record": (
        *("audit.coverage", "audit.tally", "events", "footers", "seal", "watermarks"),
    ),
    "edc.audit.leftovers": ("upkeep.compaction", "control", "errors", "events", "spool"),
    "edc.audit.verdict": (
        *(
            "upkeep.compaction",
            "audit.coverage",
            "errors",
            "events",
            "lake",
            "audit.leftovers",
            "audit.record",
        ),
        *("audit.soundness", "audit.tally", "times"),
    ),
    # The daemon.
    "edc.explain": ("errors",),
    "edc.settings": ("bus.settings", "events", "explain", "options", "queues", "times"),
    "edc.config": ("errors", "explain", "logs", "settings"),
    "edc.plan": (
        *("adapters", "errors", "events", "explain", "listing", "logs", "options", "settings"),
    ),
    "edc.listing": ("adapters", "events", "symbols", "transport"),
    "edc.instruments": ("adapters", "errors", "files", "listing", "times", "transport.fetch"),
    "edc.control": ("errors", "logs"),
    "edc.gate": NOBODY,
    "edc.page": ("logs",),
    "edc.overview": ("events", "latency", "ledger", "metrics", "queues", "seal", "times"),
    "edc.server": (
        *("errors", "exposition", "gate", "latency", "metrics", "page", "times"),
        "transport.webhook",
    ),
    "edc.status": ("bus", "metrics", "parts", "queues", "sinks", "times"),
    "edc.flush": ("errors", "parts", "sinks"),
    "edc.health": ("alerts", "deliver", "metrics", "parts"),
    "edc.held": ("events", "seal", "sinks", "spool"),
    "edc.healing": (
        *("adapters", "errors", "events", "held", "history", "ingest", "ledger", "logs", "plan"),
        *("retry", "times", "transport.fetch"),
    ),
    "edc.feeds": (
        *("adapters", "errors", "healing", "ingest", "instruments", "listing", "logs", "markets"),
        *("metrics", "plan", "relay", "retry"),
        *("staleness", "transport", "transport.poll", "transport.sockets"),
        *("transport.stream", "transport.webhook", "transport.websocket"),
    ),
    "edc.fleet": ("feeds",),
    "edc.parts": (
        *("backends", "bookkeeping", "deadletters", "deliver", "events", "feeds", "fleet"),
        *("healing", "held", "ingest", "instruments", "latency", "ledger", "logs", "metrics"),
        *("plan", "queues", "roles", "settings", "spool", "transport.libraries"),
        *("transport.webhook", "upkeep.housekeeping", "watermarks", "writers"),
    ),
    "edc.service": NOBODY,
    "edc.reload": (
        *("alerting", "errors", "feeds", "logs", "notify", "parts", "plan", "settings"),
        *("upkeep.housekeeping",),
    ),
    "edc.replay": (
        *("deadletters", "errors", "ingest", "logs", "metrics", "parts", "plan", "transport"),
    ),
    "edc.recording": (
        *("deadletters", "errors", "feeds", "ingest", "instruments", "ledger", "logs", "metrics"),
        *("plan", "queues", "retry", "transport", "transport.sockets"),
    ),
    "edc.budget": ("lake", "markets", "partitions", "plan", "query.tables", "times"),
    "edc.online": (
        *("budget", "deadletters", "errors", "feeds", "ingest", "instruments", "ledger"),
        *("logs", "metrics", "plan", "queues", "times", "transport", "transport.sockets"),
    ),
    "edc.upkeep.housekeeping": (
        *("errors", "logs", "retry", "settings", "upkeep.compaction", "upkeep.delta"),
        *("upkeep.offstage", "upkeep.retention"),
    ),
    "edc.supervisor": (
        *("alerting", "consumer", "control", "errors", "exposition", "feeds", "flush"),
        *("health", "metrics", "notify", "overview", "page", "parts", "plan", "reload"),
        *("replay", "retry", "roles", "server", "settings", "sinks", "status", "together"),
        *("transport",),
    ),
    # Several processes as one daemon.
    "edc.together": NOBODY,
    "edc.family": (
        *("errors", "plan", "settings", "spool", "status", "supervisor", "together"),
        *("watermarks",),
    ),
    "edc.crew": ("control", "errors", "family", "files", "logs", "retry"),
    "edc.foreman": (
        *("crew", "errors", "family", "metrics", "plan", "settings", "status", "supervisor"),
        *("together",),
    ),
    # The rim.
    "edc.simulator": NOBODY,
    "edc.simulator.tape": NOBODY,
    "edc.simulator.market": ("simulator.tape",),
    "edc.simulator.venue": ("simulator.tape",),
    "edc.simulator.polled": ("simulator.tape",),
    "edc.simulator.tiingo": ("simulator.market", "simulator.polled", "simulator.tape"),
    "edc.simulator.__main__": ("simulator.tiingo",),
    "edc.demo": (
        *("adapters", "errors", "options", "settings", "simulator", "simulator.tiingo"),
        "simulator.venue",
    ),
    "edc.live": (
        *("audit.verdict", "audit.coverage", "budget", "inspection", "logs", "online", "times"),
    ),
    "edc.cli": (
        *("cli.beginning", "cli.daemon", "cli.dashboards", "cli.frames", "cli.lake"),
        *("cli.planning", "cli.query", "cli.service", "cli.setup", "cli.terminal"),
    ),
    "edc.cli.beginning": (
        *("adapters", "cli.completion", "cli.terminal", "config", "demo", "errors", "explain"),
        *("options", "plan"),
    ),
    "edc.cli.planning": (
        *("audit.verdict", "budget", "cli.terminal", "config", "errors", "live", "plan"),
    ),
    "edc.cli.results": ("footers", "logs"),
    "edc.cli.query": (
        *("audit.verdict", "backends", "cli.results", "cli.terminal", "config", "errors"),
        *("events", "lake", "query.holdings", "query.statement"),
    ),
    "edc.dashboards": NOBODY,
    "edc.cli.dashboards": ("dashboards",),
    "edc.cli.completion": ("adapters", "cli.terminal"),
    "edc.cli.progress": ("cli.terminal", "logs"),
    "edc.cli.spreads": ("cli.terminal", "distribution", "inspection", "live", "logs", "plots"),
    "edc.cli.terminal": ("errors", "logs", "times"),
    "edc.cli.frames": (
        *("cli.completion", "cli.progress"),
        *("cli.terminal", "config", "errors", "instruments", "metrics", "plan", "recording"),
        *("supervisor", "transport", "transport.libraries"),
    ),
    "edc.cli.daemon": (
        *("cli.completion", "cli.progress", "cli.terminal", "config", "control", "crew"),
        *("demo", "errors", "family", "foreman", "live", "logs", "notify", "plan", "reload"),
        *("roles", "settings", "supervisor", "transport.libraries", "writers"),
    ),
    "edc.cli.lake": (
        *("audit.soundness", "audit.verdict", "backends", "cli.progress", "cli.spreads"),
        *("cli.terminal", "config", "errors", "files", "inspection", "live", "report"),
        *("settings", "upkeep.compaction", "upkeep.housekeeping", "upkeep.offstage"),
        *("upkeep.quarantine", "upkeep.retention"),
    ),
    "edc.cli.service": ("adapters", "cli.terminal", "config", "service", "settings"),
    "edc.cli.setup": (
        *("adapters", "backends", "cli.completion", "cli.terminal", "config", "errors"),
        *("files", "live", "online", "plan", "settings", "transport.libraries"),
    ),
}
"""Who may import what. A vendor has no row, but `VENDOR_SEES`."""

VENDOR_SEES = (
    *("adapters", "binance_wire", "book", "errors", "events", "fields", "forms", "rows", "symbols"),
    *("times", "transport", "wire"),
)

HOMES = {
    "aio_pika": ("edc.bus.rabbitmq",),
    "aiohttp": ("edc.gate", "edc.page", "edc.server", "edc.simulator"),
    "aiokafka": (
        *("edc.bus.kafka", "edc.bus.kafka_log", "edc.bus.kafka_reader", "edc.bus.kafka_topics"),
    ),
    "dotenv": ("edc.explain",),
    "holidays": ("edc.markets",),
    "httpx": ("edc.transport",),
    "nats": ("edc.bus.nats",),
    "picows": ("edc.transport",),
    "prometheus_client": ("edc.exposition", "edc.server", "edc.together"),
    "pydantic": (
        *("edc.bus.settings", "edc.config", "edc.explain", "edc.options", "edc.plan"),
        "edc.settings",
    ),
    "pydantic_settings": ("edc.config", "edc.settings"),
    "redis": ("edc.bus.redis",),
    "rich": ("edc.cli", "edc.live"),
    "typer": ("edc.cli",),
    "vl_convert": ("edc.report",),
    "websockets": ("edc.transport",),
}
"""Libraries that live in one place each, so that they can be exchanged there."""

MAY_SPEAK = ("edc.cli", "edc.upkeep.housekeeping", "edc.simulator.__main__")
SPEECH = re.compile(
    r"print|input|exit|quit|breakpoint|pprint\.\w+|SystemExit|sys\.exit|os\._exit|typer\.Exit|"
    r"typer\.echo|typer\.secho|sys\.(__)?(stdout|stderr)(__)?\..*"
)


def within(module: str, packages: tuple[str, ...]) -> bool:
    """True if a module is one of the packages or lies in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imported(tree: ast.Module) -> set[str]:
    """Every module that a source imports, at its head or later; `edc` ones to the submodule."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides where it leads"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(SOURCES)
            names |= inner
            if len(inner) < len(node.names):
                names.add(node.module)
    return names


def allowed(module: str) -> set[str]:
    """What a module may import of edc."""
    if module in SEES:
        return {"edc"} | {f"edc.{name}" for name in SEES[module]}  # edc itself: the version
    if venue(module):
        return {"edc.simulator.tape", "edc.simulator.venue"}
    vendor = ".".join(module.split(".")[:3])
    own = {each for each in SOURCES if within(each, (vendor,))}
    return {f"edc.{name}" for name in VENDOR_SEES} | own


def venue(module: str) -> bool:
    """A simulator of one vendor, but Tiingo's."""
    return module.startswith("edc.simulator.") and module not in SEES


def in_adapters(module: str) -> bool:
    return module.startswith("edc.adapters.")


def test_every_module_has_its_row() -> None:
    assert {module for module in SOURCES if not in_adapters(module) and not venue(module)} == set(
        SEES
    )


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_what_it_may_see(module: str) -> None:
    ours = {name for name in imported(TREES[module]) if within(name, ("edc",))}
    assert ours - allowed(module) == set()


def test_a_vendor_sees_no_other_vendor() -> None:
    vendors = {module for module in SOURCES if in_adapters(module)}
    for module in vendors:
        own = ".".join(module.split(".")[:3])
        others = {other for other in vendors if not within(other, (own,))}
        assert imported(TREES[module]) & others == set()
        assert allowed(module) & others == set()


def test_imports_never_come_back_to_where_they_began() -> None:
    """Of modules: an adapter sees the frame of `transport`, `transport.poll` the contract."""
    open_, done = set[str](), set[str]()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in open_, " -> ".join((*way, module))
        if module in done:
            return
        open_.add(module)
        for name in sorted(imported(TREES[module]) & set(SOURCES)):
            visit(name, (*way, module))
        open_.remove(module)
        done.add(module)

    for module in SOURCES:
        visit(module, ())


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_where_it_lives(library: str) -> None:
    users = {
        module
        for module, tree in TREES.items()
        if any(within(name, (library,)) for name in imported(tree))
    }
    assert users, "nobody needs it any more"
    if library == "pydantic":
        users = {module for module in users if not in_adapters(module)}
    assert {module for module in users if not within(module, HOMES[library])} == set()


def test_a_module_is_imported_by_name_only_where_vendors_are_found() -> None:
    dynamic = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"__import__", "importlib.import_module", "import_module"}
    }
    assert dynamic == {"edc.adapters", "edc.simulator"}


@pytest.mark.parametrize("module", SOURCES)
def test_only_the_command_line_prints_and_exits(module: str) -> None:
    spoken = {
        f"{ast.unparse(node)} in line {node.lineno}"
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Name | ast.Attribute) and SPEECH.fullmatch(ast.unparse(node))
    }
    assert not spoken or within(module, MAY_SPEAK)


def public(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """The module and every class, function and method of it that others may use."""
    yield "the module", tree
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, parent = waiting.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("_"):
                    continue
                yield f"{prefix}{node.name}", node
                if isinstance(node, ast.ClassDef):
                    waiting.append((f"{prefix}{node.name}.", node))


@pytest.mark.parametrize("module", SOURCES)
def test_whatever_is_public_says_what_it_is(module: str) -> None:
    silent = [
        name
        for name, node in public(TREES[module])
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not (ast.get_docstring(node) or "").strip()
    ]
    assert silent == []


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_is_left_for_later(module: str) -> None:
    lines = SOURCES[module].read_text().splitlines()
    assert [line for line in lines if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line)] == []


LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
ABOUT_FEEDS = (
    *("edc.feeds", "edc.ingest", "edc.unsubscribed", "edc.relay", "edc.healing"),
    *("edc.deadletters", "edc.replay"),
)
"""Whatever these say is about a feed."""


def log_calls(module: str) -> Iterator[ast.Call]:
    """Every line that a module may log, by `log` or a logger that is named there."""
    for node in ast.walk(TREES[module]):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and re.fullmatch(r"log|logging|logging\.getLogger\(.*\)", ast.unparse(node.func.value))
        ):
            yield node


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_message_is_constant_and_what_differs_is_filled_in(module: str) -> None:
    # What repeats is found by the message as it stands here.
    for call in log_calls(module):
        first = 1 if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else 0
        message = call.args[first]
        where = f"{module}:{call.lineno}"
        assert isinstance(message, ast.Constant), where
        assert isinstance(message.value, str), where
        assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(call)), where


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_message_has_as_many_blanks_as_are_filled_in(module: str) -> None:
    for call in log_calls(module):
        assert isinstance(call.func, ast.Attribute)
        message, *rest = call.args[1:] if call.func.attr == "log" else call.args
        filled = 0
        for each in rest:
            several = isinstance(each, ast.Starred)
            filled += len(each.value.elts) if several else 1  # type: ignore[attr-defined]
        assert isinstance(message, ast.Constant)
        blanks = re.findall(r"%[-+0-9.,]*[a-z]", str(message.value).replace("%%", ""))
        assert len(blanks) == filled, f"{module}:{call.lineno}"


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_level_says_what_is_to_be_done_and_a_traceback_is_of_what_was_caught(module: str) -> None:
    caught = {
        id(node)
        for handler in ast.walk(TREES[module])
        if isinstance(handler, ast.ExceptHandler)
        for node in ast.walk(handler)
    }
    for call in log_calls(module):
        assert isinstance(call.func, ast.Attribute)
        where = f"{module}:{call.lineno}"
        assert call.func.attr != "critical", where  # nothing is worse than data that was lost
        assert call.func.attr != "exception" or id(call) in caught, where


@pytest.mark.parametrize("module", ABOUT_FEEDS)
def test_what_is_said_about_a_feed_says_which_and_which_connection(module: str) -> None:
    calls = list(log_calls(module))
    assert calls
    for call in calls:
        extra = [ast.unparse(each.value) for each in call.keywords if each.arg == "extra"]
        assert [said.partition("(")[0] for said in extra] == ["about"], f"{module}:{call.lineno}"


def test_nobody_makes_the_fields_of_a_feed_by_hand() -> None:
    by_hand = [
        f"{module}:{call.lineno}"
        for module in SOURCES
        for call in log_calls(module)
        for each in call.keywords
        if each.arg == "extra"
        for node in ast.walk(each.value)
        if isinstance(node, ast.Dict)
        and any(isinstance(key, ast.Constant) and key.value == "feed" for key in node.keys)
    ]
    assert by_hand == []
    assert sum(1 for module in SOURCES for _ in log_calls(module)) > 50
