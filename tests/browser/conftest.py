"""Fixtures of the browser tests. SITE_URL names a site that is running already; else one is started for them."""

import os
from collections.abc import Iterator

import pytest

from browser.server import CHROMIUM, run_site


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    return CHROMIUM


@pytest.fixture(scope="session")
def site_url() -> Iterator[str]:
    """The address of the site under test, without a slash at its end."""
    if os.environ.get("SITE_URL"):
        yield os.environ["SITE_URL"].rstrip("/")
    else:
        with run_site() as address:
            yield address
