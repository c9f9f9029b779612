"""In CI a skipped test fails."""

from __future__ import annotations

import pytest

TESTS = """
import pytest

def test_without_a_browser():
    pytest.skip("no browser")

@pytest.mark.skipif(True, reason="no Java")
def test_without_java():
    pass

@pytest.mark.xfail
def test_known_defect():
    assert False

def test_passes():
    pass
"""


def run(pytester: pytest.Pytester) -> pytest.RunResult:
    pytester.makepyfile(TESTS)
    return pytester.runpytest_inprocess("-p", "no_skips", "-rfE")


def test_skips_fail_in_ci(pytester, monkeypatch):
    monkeypatch.setenv("CI", "true")
    result = run(pytester)
    result.assert_outcomes(failed=1, errors=1, xfailed=1, passed=1)
    result.stdout.fnmatch_lines(["*skipped in CI: *no browser*", "*skipped in CI: *no Java*"])


def test_skips_are_skips_elsewhere(pytester, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    run(pytester).assert_outcomes(skipped=2, xfailed=1, passed=1)
