"""The client is tested on the service: its fixtures."""

from tests.service.conftest import anyio_backend as anyio_backend
from tests.service.conftest import client as client
from tests.service.conftest import serve as serve
from tests.service.conftest import start as start
