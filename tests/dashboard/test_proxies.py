"""Who may post to the pages when a proxy stands before them."""

import pytest
from starlette.requests import Request

from dashboard.server import _same_site


def asked(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": pairs})


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "desk:8501"},  # no browser's page: no origin
        {"host": "desk:8501", "origin": "http://desk:8501"},
        {"host": "desk", "origin": "https://desk:8443"},  # the proxy dropped the port
        {
            "host": "127.0.0.1:8501",  # the proxy's own Host
            "origin": "https://fleet.example",
            "x_forwarded_host": "fleet.example",
        },
        {
            "host": "backend",
            "origin": "https://fleet.example:8443",
            "x_forwarded_host": "fleet.example:8443, inner",
        },
    ],
)
def test_a_page_of_this_site_may_post(headers: dict[str, str]) -> None:
    assert _same_site(asked(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "desk:8501", "origin": "http://evil.example"},
        {"host": "desk:8501", "origin": "http://desk:8502"},
        {"host": "desk", "origin": "null"},
        {"host": "desk", "origin": "http://desk.evil.example"},
        {"host": "backend", "origin": "http://evil.example", "x_forwarded_host": "fleet.example"},
    ],
)
def test_a_page_of_another_site_may_not(headers: dict[str, str]) -> None:
    assert not _same_site(asked(**headers))
