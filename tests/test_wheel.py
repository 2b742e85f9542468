"""The wheel holds all that the package needs, and nothing else."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the sources as they are, built without asking any package index."""
    pytest.importorskip("setuptools")
    folder, sources = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("sources")
    built = shutil.ignore_patterns("__pycache__", "*.so")  # here, by `make setup`
    shutil.copytree(ROOT / "edc", sources / "edc", ignore=built)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), "."),
        ],
        cwd=sources,
        timeout=120,
        check=True,
    )
    [made] = folder.iterdir()
    return made


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "edc").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so")
    }
    there.add(f"edc/speedups{sysconfig.get_config_var('EXT_SUFFIX')}")

    names = set(ZipFile(wheel).namelist())

    about = f"edc-{version('edc')}.dist-info"
    assert {name for name in names if not name.startswith(f"{about}/")} == there
    assert {
        *("edc/py.typed", "edc/page/status.html", "edc/page/login.html", "edc/page/status.js"),
        *("edc/page/status.css", "edc/dashboards/grafana.json", "edc/dashboards/alerts.yml"),
        *("edc/dashboards/prometheus.yml", f"{about}/licenses/LICENSE"),
    } <= names


def test_the_package_runs_from_the_wheel_and_finds_its_own_files(
    wheel: Path, tmp_path: Path
) -> None:
    with ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")

    code = (
        "import edc, edc.cli, edc.page, edc.speedups, sys\n"
        "print(edc.__file__)\n"
        "sys.argv = ['edc', 'dashboard', 'grafana']\n"
        "edc.cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    where, _, printed = done.stdout.partition("\n")
    assert where == str(tmp_path / "site" / "edc" / "__init__.py")
    assert printed == (ROOT / "edc" / "dashboards" / "grafana.json").read_text()
