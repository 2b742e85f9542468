"""How edc runs by itself: units for systemd, lines for cron. Text only: nothing is installed here.

The daemon is `Type=notify`: it is ready once its feeds are started and its servers listen, and it
is killed where its event loop stops turning for `WatchdogSec`. `systemctl reload` is `edc reload`,
so that a config that is wrong is an error there, and the old one goes on. It sees its state
directory and nothing else that it could change; keys come as credentials, which no other process
can read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib/edc")
_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
DevicePolicy=closed
ProtectSystem=strict
ProtectHome={home}
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
LimitCORE=0
LimitNOFILE=65536
UMask=0027
"""


@dataclass(frozen=True, slots=True)
class Service:
    """What the texts say. `program` is edc itself; `keys` are the names of its credentials.

    `writes` is a folder outside of the state directory that it has to write to, if there is one.
    """

    program: Path
    config: Path
    user: str
    keys: Sequence[str] = ()
    writes: Path | None = None

    def units(self) -> dict[str, str]:
        """The files for `/etc/systemd/system`, by name."""
        return {
            "edc.service": self._daemon(),
            "edc-audit.service": self._audit(),
            "edc-audit.timer": _TIMER,
        }

    def cron(self) -> str:
        """Lines for a crontab of the user, where there is no systemd."""
        edc, config = self.program, self.config
        return f"""\
# A session, from Monday to Friday, in the machine's time zone. A run that is still going: exit 75.
25 9 * * 1-5  {edc} run --config {config} --duration 6h40m --log-format json
# Or polled feeds only, once every quarter of an hour.
# */15 * * * *  {edc} run --config {config} --once --feeds NAME,NAME --log-format json
# What a session that was killed has left in the spool, into the lake.
50 8 * * 1-5  {edc} flush --config {config}
30 3 * * *  {edc} compact --config {config} && {edc} audit --config {config}
"""

    def _daemon(self) -> str:
        credentials = "".join(f"LoadCredential={key}:/etc/edc/{key}\n" for key in self.keys)
        return f"""\
[Unit]
Description=edc: records market data
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={self.program} run --config {self.config}
# With systemd 253 or newer, Type=notify-reload does without the next line.
ExecReload={self.program} reload --config {self.config}
WatchdogSec=30s
TimeoutStartSec=90s
# What is not in the lake by then is in the spool, and the next start brings it in.
TimeoutStopSec=60s
KillMode=mixed
Restart=on-failure
RestartSec=2s
# 2: something must be edited first. 74, a failed fsync: look at the disk first.
RestartPreventExitStatus=2 74
{credentials}{self._common()}
[Install]
WantedBy=multi-user.target
"""

    def _audit(self) -> str:
        return f"""\
[Unit]
Description=edc: is the lake true?
After=edc.service

[Service]
Type=oneshot
ExecStart={self.program} compact --config {self.config}
ExecStart={self.program} audit --config {self.config}
Nice=10
IOSchedulingClass=idle
{self._common()}"""

    def _common(self) -> str:
        home = "read-only" if self.program.parts[:2] in (("/", "home"), ("/", "root")) else "yes"
        writes = f"ReadWritePaths={self.writes}\n" if self.writes else ""
        return f"""\
User={self.user}
StateDirectory=edc
StateDirectoryMode=0750
WorkingDirectory={STATE}
{writes}Environment=PYTHONUNBUFFERED=1
# Polars makes a page executable to ask the processor what it can, unless told not to.
Environment=POLARS_SKIP_CPU_CHECK=1
{_HARDENING.format(home=home)}"""


_TIMER = """\
[Unit]
Description=edc: the lake is compacted and audited every night

[Timer]
OnCalendar=*-*-* 03:30
RandomizedDelaySec=15min
Persistent=yes

[Install]
WantedBy=timers.target
"""
