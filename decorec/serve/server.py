"""Step serve: answers over HTTP with a trained run until it is ended."""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from decorec.errors import DecorecError
from decorec.serve.app import build_app
from decorec.serve.catalogue import Tables
from decorec.serve.meters import Meters
from decorec.serve.reload import Reloader, load_warm, state_of
from decorec.serve.worker import Worker

__all__ = ["listening", "serve"]

GRACE = 30
"""Seconds that requests have to end in after the signal to end."""
KEPT = 75
"""Seconds that an idle connection is kept open: longer than proxies keep theirs (60 is common), so that none of them
asks on one that ends at the same moment."""
PAUSE = 0.05
"""Seconds between two looks whether all connections are closed."""
log = logging.getLogger("decorec")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, linger: float) -> None:
        super().__init__(config)
        self._linger = linger

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled in ``_run``: an asked end is no failure."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, and answer what has been sent by then.

        uvicorn alone closes the listener over clients that wait to be accepted, and idle connections over requests that
        are on their way: these clients see a reset. Here the ones are accepted first, and the others have a while to
        ask once more; every answer tells that its connection ends.
        """
        while sockets and select.select(sockets, [], [], 0)[0]:
            await asyncio.sleep(0)  # the event loop accepts them
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        end = asyncio.get_running_loop().time() + self._linger
        await asyncio.sleep(PAUSE)  # those that were accepted last become connections
        while self.server_state.connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(PAUSE)
        await super().shutdown(sockets)


def serve(
    *,
    run: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    catalogue: Path | None = None,
    images: Path | None = None,
    cache: Path | None = None,
    watch: float = 2.0,
    linger: float = 2.0,
) -> None:
    """Answer over HTTP with a trained run until SIGTERM or Ctrl-C.

    A demo page stands at /, the interface at /docs. When the run's files change, or at SIGHUP, the model is loaded
    again without a pause. There are no passwords: what can reach the address can ask.

    Args:
        run: folder of a trained run (read), such as results/shop/runs/decorec-plus/seed-0.
        host: address to listen at; by default only this machine can ask.
        port: port to listen at; 0: a free one.
        catalogue: items.parquet (read): titles, texts and categories; default: that of the run's data set, if the run
            lies in results/.
        images: images.parquet (read): which pictures the products have; default as for catalogue.
        cache: folder of the stored pictures (read); default as for catalogue.
        watch: seconds between two looks at the run's files.
        linger: seconds after the signal to end in which open connections may ask once more, and hear that they end.

    Raises:
        DecorecError: there is no trained model, a file is damaged, or the address is taken.
    """
    if not (0 <= port < 65536 and watch > 0 and linger >= 0):
        raise DecorecError(
            f"serve: expected 0 <= port < 65536, watch > 0 and linger >= 0, found {port}, {watch} and {linger}; "
            "correct them"
        )
    with listening(host, port) as listener:
        state = state_of(run)
        tables, meters = Tables(catalogue, images, cache), Meters()
        worker = Worker(load_warm(run, tables), meters)
        reloader = Reloader(run, tables, worker, meters, watch, state)
        asyncio.run(_run(build_app(worker, reloader, meters), reloader, listener, linger))


async def _run(app: object, reloader: Reloader, listener: socket.socket, linger: float) -> None:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEPT,
        timeout_graceful_shutdown=GRACE,
    )
    server, loop = _Server(config, linger), asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    host, port = listener.getsockname()[:2]
    log.info("serving at http://%s:%d", f"[{host}]" if ":" in host else host, port)
    await server.serve([listener])


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections.

    Raises:
        DecorecError: the address is taken, or there is none of that name.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
        # Connections inherit it. asyncio sets it where the socket names its protocol, and this one does not; without it
        # the body of an answer waits 40 ms, until the client has confirmed the head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        number = error.errno
        cause = "another program has it" if number == errno.EADDRINUSE else str(error)
        raise DecorecError(
            f"{host}:{port}: expected an address to listen at, found that {cause}; name another --port or --host"
        ) from error
    with listener:
        yield listener
