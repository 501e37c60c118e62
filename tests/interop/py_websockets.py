"""Python `websockets` as a peer.

    py_websockets.py client URL NAME [--ca FILE] [--limit BYTES]
      checks an echo server; --limit: its largest message
    py_websockets.py server [--cert FILE --key FILE] [--deflate]
      a server on a free port (printed) for our client; see `command` below
"""
import argparse
import asyncio
import contextlib
import random
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

MIB = 1024 * 1024
TIMEOUT = 20


class Client:
    def __init__(self, args):
        self.args = args
        self.failed = 0
        self.ssl = None
        if args.url.startswith("wss:"):
            self.ssl = ssl.create_default_context(cafile=args.ca)

    def connect(self, **options):
        options = {"compression": None, "max_size": 64 * MIB, "ssl": self.ssl, "proxy": None} | options
        return connect(self.args.url, **options)

    async def check(self, name, body, **options):
        """Run one check in a connection of its own; an exception, and silence, is its failure."""
        label = f"{self.args.name}/{name}"
        try:
            async with asyncio.timeout(TIMEOUT), self.connect(**options) as ws:
                await body(ws)
                await ws.close()
                assert ws.close_code in (1000, *CLOSED), f"close code {ws.close_code}"
        except Exception as error:
            self.failed += 1
            reason = f"{type(error).__name__} {error}".split("\n")[0][:300]
            print(f"FAIL {label}: {reason}", flush=True)
        else:
            print(f"ok {label}", flush=True)


# Codes that the checks below close with themselves.
CLOSED = (1007, 1009, 3000, 4001)


def lines(size):
    """Text that compresses well, but not like a decompression bomb."""
    return "".join(f"{i:08}" for i in range(-(-size // 8)))[:size]


async def echo(ws, sent):
    await ws.send(sent)
    got = await ws.recv()
    assert type(got) is type(sent), "the type changed"
    assert got == sent, f"echo differs: {len(got)} for {len(sent)}"


async def text(ws):
    for sent in ("hello", "", "κόσμε 日本語 🦀", *("x" * n for n in (125, 126, 65_535, 65_536))):
        await echo(ws, sent)


async def binary(ws):
    for size in (0, 1, 125, 126, 65_535, 65_536):
        await echo(ws, random.randbytes(size))


async def one_mib(ws):
    await echo(ws, random.randbytes(MIB))
    await echo(ws, "x" * MIB)


async def fragments(ws):
    await ws.send(["a ", "", "€", " b"])
    assert await ws.recv() == "a € b"
    parts = [random.randbytes(50_000) for _ in range(20)]
    await ws.send(parts)
    assert await ws.recv() == b"".join(parts)


async def pipelined(ws):
    async def write():
        for i in range(1000):
            await ws.send(f"message {i}")

    writer = asyncio.create_task(write())
    for i in range(1000):
        assert await ws.recv() == f"message {i}"
    await writer


async def ping(ws):
    for payload in (b"", b"ping", b"p" * 125):
        await (await ws.ping(payload))
    # Two at once: a peer may answer only the latest, which confirms both.
    first, second = await ws.ping(b"first"), await ws.ping(b"second")
    await asyncio.gather(first, second)


def close_with(code, reason):
    async def body(ws):
        await ws.close(code, reason)
        assert ws.close_code == code, f"close code {ws.close_code}"

    return body


def deflate(**parameters):
    return {"extensions": [ClientPerMessageDeflateFactory(compress_settings={"level": 6}, **parameters)]}


async def compressed(ws):
    names = [extension.name for extension in ws.protocol.extensions]
    assert names == ["permessage-deflate"], f"extensions {names}"
    await compressible(ws)
    await echo(ws, random.randbytes(MIB // 2))


async def compressible(ws):
    for i in range(10):
        await echo(ws, f"a short message that repeats itself, number {i}")
    await echo(ws, "")
    await echo(ws, "κόσμε " * 5000)
    await echo(ws, lines(MIB))
    await ws.send(["smartsocket "] * 500)
    assert await ws.recv() == "smartsocket " * 500


async def plain(ws):
    assert ws.protocol.extensions == []
    await echo(ws, "x" * 10_000)


async def subprotocol(ws):
    # An endpoint with no subprotocols declines by silence.
    assert ws.subprotocol in (None, "chat.v1", "echo"), ws.subprotocol


async def client(args):
    peer = Client(args)
    both = {"server_no_context_takeover": True, "client_no_context_takeover": True}
    await peer.check("text", text)
    await peer.check("binary", binary)
    await peer.check("1MiB", one_mib)
    await peer.check("fragments", fragments)
    await peer.check("pipelined", pipelined)
    await peer.check("ping", ping)
    for code in (1000, 3000, 4001):
        await peer.check(f"close-{code}", close_with(code, "bye"))
    await peer.check("deflate", compressed, compression="deflate")
    await peer.check("deflate-context", compressed, **deflate())
    await peer.check("deflate-no-context", compressed, **deflate(**both))
    # The server may decline what it cannot honour; the echo must be right.
    await peer.check("deflate-small-window", compressible, **deflate(server_max_window_bits=9, client_max_window_bits=9))
    await peer.check("deflate-off", plain)
    await peer.check("subprotocol", subprotocol, subprotocols=["chat.v1", "echo"])
    if args.limit:
        async def limit(ws):
            await echo(ws, bytes(args.limit))
            with contextlib.suppress(ConnectionClosed):
                await ws.send(bytes(args.limit + 1))
                await ws.recv()
            assert ws.close_code == 1009, f"close code {ws.close_code}"

        await peer.check("limit", limit)
    return 1 if peer.failed else 0


async def command(ws, message):
    """What connect.mjs asks for; node_ws.mjs knows the same words. Other messages are echoed."""
    word, *rest = message.split(" ") if isinstance(message, str) else [None]
    match word:
        case "!fragments":
            async def parts():
                yield "one "
                await ws.ping()
                yield "two "
                yield "three"

            await ws.send(parts())
        case "!ping":
            await (await ws.ping(rest[0]))
            await ws.send(f"pong {rest[0]}")
        case "!protocol":
            await ws.send(f"protocol {ws.subprotocol}")
        case "!header":
            await ws.send(f"header {ws.request.headers.get(rest[0])}")
        case "!extensions":
            await ws.send(f"extensions {[extension.name for extension in ws.protocol.extensions]}")
        case "!big":
            await ws.send(lines(int(rest[0])))
        case "!close":
            await ws.close(int(rest[0]), rest[1])
        case _:
            await ws.send(message)


async def handler(ws):
    with contextlib.suppress(ConnectionClosed):
        async for message in ws:
            await command(ws, message)


async def server(args):
    context = None
    if args.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert, args.key)
    async with serve(
        handler,
        "127.0.0.1",
        0,
        ssl=context,
        compression=None,
        extensions=[ServerPerMessageDeflateFactory()] if args.deflate else None,
        # A client that asks for none gets none.
        select_subprotocol=lambda ws, offered: "chat.v1" if "chat.v1" in offered else None,
    ) as listener:
        port = listener.sockets[0].getsockname()[1]
        print(f"{'wss' if context else 'ws'}://127.0.0.1:{port}/", flush=True)
        await listener.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    roles = parser.add_subparsers(dest="role", required=True)
    role = roles.add_parser("client")
    role.add_argument("url")
    role.add_argument("name")
    role.add_argument("--ca")
    role.add_argument("--limit", type=int)
    role = roles.add_parser("server")
    role.add_argument("--cert")
    role.add_argument("--key")
    role.add_argument("--deflate", action="store_true")
    args = parser.parse_args()
    return asyncio.run(client(args) if args.role == "client" else server(args))


if __name__ == "__main__":
    sys.exit(main())
