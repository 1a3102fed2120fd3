"""One process of Ray Serve: the service's application around a network of its own."""

import os
from functools import partial

from fastapi import FastAPI

from ...app import create_app
from ...memory.process_limit import bound_memory
from ...scheduler.model_loading import load_model
from ...server.process_limits import limit_threads
from ...settings import Settings
from .draining import EndSockets, replica_drains


class Replica:
    """Builds the application where it is to run: one that is built cannot travel."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._app: FastAPI | None = None
        self._tested = False

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Open network and rig, and build the application; raises as `load_model`."""
        settings = self._settings
        limit_threads()
        if settings.memory_mib:
            bound_memory(settings.memory_mib)
        model = load_model(settings, with_candidate=True)
        self._app = create_app(
            settings, model.runtime, model.rig_aligner, model.reference, candidate=model.candidate
        )
        self._app.state.give_up = partial(os._exit, 1)  # a network hangs: Ray starts another
        self._app.add_middleware(EndSockets, draining=replica_drains)
        return self._app

    async def check_health(self) -> None:
        """Raise NotReady if the network fails; the first time, wait for its self-test."""
        assert self._app
        test = self._app.state.dispatcher.self_test
        if not self._tested:
            await test.run()
            self._tested = True
        test.check_ready()
