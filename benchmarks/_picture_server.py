"""A loopback server of generated JPEGs, as cheap as Python allows, in a process of its own.

/<number>.jpg gives one of a few hundred pictures with <number> in a comment, so that every body is different.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import struct

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["bodies", "main"]


def bodies(count: int, side: int) -> list[bytes]:
    """``count`` JPEGs of ``side`` x ``side`` pixels: smooth colours, edges, grain; about 45 kB at 500 pixels."""
    rng = np.random.default_rng(0)
    result = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), "RGB")
        picture = coarse.resize((side, side), Image.Resampling.BICUBIC)
        for _ in range(12):
            left, top, width, height = rng.integers(10, side // 2, 4).tolist()
            colour = tuple(rng.integers(0, 256, 3).tolist())
            picture.paste(colour, (left, top, left + width, top + height))
        picture = picture.filter(ImageFilter.GaussianBlur(0.7))
        grain = rng.normal(0, 6, (side, side, 3))
        pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels, "RGB").save(buffer, "JPEG", quality=80)
        result.append(buffer.getvalue())
    return result


class _Pictures(asyncio.Protocol):
    pictures: list[bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        name = request.split(b" ", 2)[1].strip(b"/").removesuffix(b".jpg")
        if not name.isdigit():
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        picture = self.pictures[int(name) % len(self.pictures)]
        comment = b"\xff\xfe" + struct.pack(">H", len(name) + 2) + name
        header = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(header % (len(picture) + len(comment)) + picture[:2] + comment + picture[2:])
        if b"connection: close" in request.lower():
            self._transport.close()


async def _serve(pictures: list[bytes]) -> None:
    handler = type("_Handler", (_Pictures,), {"pictures": pictures})
    server = await asyncio.get_running_loop().create_server(handler, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until killed; the first line of the output is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distinct", type=int, default=500)
    parser.add_argument("--side", type=int, default=500)
    arguments = parser.parse_args()
    asyncio.run(_serve(bodies(arguments.distinct, arguments.side)))


if __name__ == "__main__":
    main()
