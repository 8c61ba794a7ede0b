"""A system for the tests: API, worker and servers, on free ports, with data of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import Proxy
from system import Api, System, started

ROOT = Path(__file__).resolve().parents[3]
PICTURES = ROOT / "test_images"


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """`spotter up`, and an API that requires keys on the same queue."""
    with started(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture(scope="session")
def url(system: System) -> str:
    """The address of an API that requires no key."""
    return system.open_api


@pytest.fixture
def lonely_api(tmp_path: Path) -> Iterator[Api]:
    """An API without workers: its tasks stay in the queue. It can be killed and started again."""
    with Api.with_own_queue(tmp_path) as api:
        yield api


@pytest.fixture
def proxy(lonely_api: Api) -> Iterator[Proxy]:
    """The way to the lonely API: its address stays, while the API is away or has another port."""
    with Proxy(lonely_api.address) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]
    for name in ("SPOTTER_API", "SPOTTER_API_KEY", "SSL_CERT_FILE", *proxies, *map(str.upper, proxies)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bus() -> Path:
    return PICTURES / "bus.jpg"


@pytest.fixture
def zidane() -> Path:
    return PICTURES / "zidane.jpg"
