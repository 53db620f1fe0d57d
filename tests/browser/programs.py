"""Finds the programs that browser tests start: skips loudly without them, and fails in CI."""

import os
import shutil

import pytest


def find_program(*names: str, package: str) -> str:
    """The path of the first of `names` that is installed.

    Without any of them the test is skipped with the Debian package to install; where
    CI=true nothing may be skipped, so there it fails.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    reason = f"{' or '.join(names)} is not installed: apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
