"""In CI a skipped test is a failed test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
SKIPPED = {
    "running": "import pytest\ndef test_it(): pytest.skip('left while running')\n",
    "mark": "import pytest\n@pytest.mark.skip(reason='left by a mark')\ndef test_it(): pass\n",
    "module": "import pytest\npytest.importorskip('no_such_module', reason='left as a module')\n",
}
EXPECTED_TO_FAIL = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n"


def run_pytest(folder: Path, tests: dict[str, str], *, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    for name, test in tests.items():
        (folder / f"test_{name}.py").write_text(test)
    options = ["-p", "no:cacheprovider", "--continue-on-collection-errors", f"--rootdir={folder}"]
    command = [sys.executable, "-m", "pytest", *options]
    environment = os.environ | {"CI": ci}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_skipped_tests_fail_in_ci_with_their_reasons(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, SKIPPED, ci="true")
    assert run.returncode != 0
    assert "skipped" not in run.stdout.splitlines()[-1]
    assert all(reason in run.stdout for reason in ("left while running", "left by a mark", "left as a module"))


def test_skipped_tests_are_only_skipped_elsewhere(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, {"running": SKIPPED["running"], "passes": "def test_it(): pass\n"}, ci="")
    assert run.returncode == 0


def test_an_expected_failure_is_no_skipped_test(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, {"expected": EXPECTED_TO_FAIL}, ci="true").returncode == 0
