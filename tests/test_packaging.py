"""One name, `xds`, for two packages: ours and the one that Envoy's messages import."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import envoy.config.cluster.v3.cluster_pb2
import pytest
import xds.core.v3.context_params_pb2

import xds.snapshot

ROOT = Path(__file__).parent.parent
THEIRS = {"annotations", "core", "data", "service", "type"}
BOTH = "import envoy.config.cluster.v3.cluster_pb2, xds.core.v3.context_params_pb2, xds.snapshot, xds.translate"
ONLY_EXTENDS_ITS_PATH = """
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
"""


def imports(code: str, directory: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """`code` in a fresh interpreter that finds modules in `directory`, where it runs, and on `path`."""
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": ":".join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_both_are_found_in_pytest() -> None:
    assert Path(xds.snapshot.__file__).is_relative_to(ROOT)
    assert not Path(xds.core.v3.context_params_pb2.__file__).is_relative_to(ROOT / "xds")
    assert envoy.config.cluster.v3.cluster_pb2.Cluster(name="a").name == "a"


def test_both_are_found_from_the_root() -> None:
    result = imports(BOTH, ROOT)
    assert result.returncode == 0, result.stderr


def test_both_are_found_when_installed(tmp_path: Path) -> None:
    """As a wheel unpacks: only the files that packaging takes, at another place than the sources."""
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "--wheel-dir", str(wheels), str(copied_sources(tmp_path))], check=True, capture_output=True)
    site = tmp_path / "site"
    [wheel] = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    result = imports(f"{BOTH}; print(xds.snapshot.__file__)", tmp_path, site)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(site)


def copied_sources(directory: Path) -> Path:
    """What a build reads, so that it leaves nothing behind in the work tree."""
    target = directory / "source"
    target.mkdir()
    for name in ("compiler", "xds"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target / name)
    return target


def test_the_package_file_only_extends_its_path() -> None:
    found = ast.dump(ast.parse((ROOT / "xds" / "__init__.py").read_text()))
    assert found == ast.dump(ast.parse(ONLY_EXTENDS_ITS_PATH))


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_no_module_of_ours_hides_one_of_theirs(name: str) -> None:
    assert not (ROOT / "xds" / name).exists()
    assert not (ROOT / "xds" / f"{name}.py").exists()


def test_tests_do_not_hide_the_package() -> None:
    assert not (ROOT / "tests" / "xds" / "__init__.py").exists()


def test_the_command_starts_without_grpc_envoy_or_kubernetes() -> None:
    heavy = "{'grpc', 'envoy', 'envoy_data_plane', 'google', 'kubernetes'}"
    result = imports(f"import sys, xds.cli; print(sorted({heavy} & set(sys.modules)))", ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
