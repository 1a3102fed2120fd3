"""One real service, in a process of its own, for all requests here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.generators.requests import form
from tests.hostile.service_process import Service, running


@pytest.fixture(scope="session")
def service(stand_in_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(stand_in_weights, tmp_path_factory.mktemp("service")) as started:
        answer = started.send(form()())  # what decodes it stays in memory from now on
        assert b" 200 " in answer[:20]
        yield started
        assert "Traceback" not in started.log.read_text()
        assert started.process.poll() is None
