"""SIGHUP: reload settings, network and rig while requests come and go."""

import asyncio
import logging
import signal
import ssl
from collections.abc import Callable

from fastapi import FastAPI

from segmif.interrupts import hung_up

from ..live.open_rig import check_fit
from ..live.rig_settings import LiveSettings
from ..pipeline.pair_rules import PairRules
from ..scheduler.model_loading import LoadedModel
from ..settings import Settings
from .tls_handshakes import tls_context

# What the listening socket, the process and its log are made with; listed in
# docs/guides/operate.md.
AT_START_ONLY = (
    *("host", "port", "memory_mib", "shared_memory", "log"),
    *("decode_processes", "decode_limit_s"),
)

logger = logging.getLogger(__name__)


def reload_on_sighup(app: FastAPI, reopen: Callable[[], LoadedModel]) -> None:
    """
    Reload on SIGHUP, also on one that came during the start.

    Call it from the main thread, within its event loop.
    """
    loop, lock = asyncio.get_running_loop(), asyncio.Lock()
    renewing: set[asyncio.Task[None]] = set()  # the loop itself would forget them

    def hang_up() -> None:
        task = loop.create_task(reload(app, reopen, lock))
        renewing.add(task)
        task.add_done_callback(renewing.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    if hung_up():
        logger.info("SIGHUP came during the start: settings are read again")
        hang_up()


async def reload(app: FastAPI, reopen: Callable[[], LoadedModel], lock: asyncio.Lock) -> None:
    """Switch to what `reopen` opens, or log why all stays as it is."""
    async with lock:
        try:
            opened = await asyncio.to_thread(reopen)
            rigs = await rigs_beside(app, opened)
            await app.state.dispatcher.reload(opened)
        except Exception as error:
            logger.error("nothing is renewed, all stays as it was: %s", error)
            return
        last, app.state.settings = app.state.settings, opened.settings
        if app.state.adopt:
            app.state.adopt(opened.settings)
        reload_certificate(app.state.tls, opened.settings)
        if rigs:
            await app.state.rigs.reload(rigs)
    for name in AT_START_ONLY:
        if getattr(last, name) != getattr(opened.settings, name):
            logger.warning("%s has changed; it takes effect at the next start", name)
    logger.info("renewed; weights are %s", opened.runtime.manifest.sha256)


async def rigs_beside(app: FastAPI, opened: LoadedModel) -> LiveSettings | None:
    """
    The rigs of the file; None: there are none, or they stay as they were, and the log says why.

    Raises ValueError and closes what was opened if rigs do not fit it.
    """
    if not app.state.rigs:
        return None
    wanted = await rigs_of_file(app)
    rigs = (wanted or app.state.rigs.settings).rigs
    cameras = PairRules.of(opened.settings, opened.rig_aligner).cameras
    try:
        await asyncio.to_thread(check_fit, rigs, opened.runtime.manifest.classes, cameras)
    except BaseException:
        await asyncio.to_thread(opened.close)
        raise
    return wanted


async def rigs_of_file(app: FastAPI) -> LiveSettings | None:
    """The rigs as the file has them now; None: they stay as they were, and the log says why."""
    if not app.state.reopen_rigs:
        return None
    try:
        wanted: LiveSettings = await asyncio.to_thread(app.state.reopen_rigs)
        await app.state.rigs.check(wanted)
    except Exception as error:
        logger.error("the rigs stay as they were: %s", error)
        return None
    return wanted


def reload_certificate(tls: ssl.SSLContext | None, settings: Settings) -> None:
    """Reload the TLS certificate for new connections, or log why not."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if not (tls and certificate and key):
        if tls or certificate:
            logger.warning("TLS is turned on and off at the next start")
        return
    try:
        tls_context(settings)  # a wrong one must not spoil the one in use
        tls.load_cert_chain(certificate, key)
    except OSError as error:
        logger.error("the TLS certificate stays as it was: %s", error)
