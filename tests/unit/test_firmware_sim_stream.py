"""Streams of the simulator: memory, TCP and real pseudo-terminals behave as one."""

import asyncio
import os
import tty

import pytest

from firmware_sim.stream import BUFFER_LIMIT, PtyStream, connect_tcp, memory_pipe, serve_tcp


def test_memory_pipe_keeps_order_and_reports_close():
    async def story():
        a, b = memory_pipe()
        await a.write(b"hello")
        await a.write(b" world")
        assert await b.read(7) == b"hello w"
        await b.write(b"ack")
        assert await a.read(100) == b"ack"
        await a.close()
        assert await b.read(100) == b"orld"
        assert await b.read(100) == b""
        with pytest.raises(BrokenPipeError):
            await b.write(b"late")

    asyncio.run(story())


def test_memory_pipe_holds_a_fast_writer_back():
    async def story():
        a, b = memory_pipe()
        writer = asyncio.create_task(a.write(bytes(BUFFER_LIMIT + 1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not writer.done()
        assert len(await b.read(1 << 20)) == BUFFER_LIMIT + 1
        await asyncio.wait_for(writer, 1)

    asyncio.run(story())


def test_memory_pipe_wakes_a_waiting_reader_on_close():
    async def story():
        a, b = memory_pipe()
        reader = asyncio.create_task(b.read(10))
        await asyncio.sleep(0)
        await a.close()
        assert await asyncio.wait_for(reader, 1) == b""

    asyncio.run(story())


def test_tcp_serves_each_connection():
    async def story():
        async def shout(stream):
            while data := await stream.read(100):
                await stream.write(data.upper())

        server, port = await serve_tcp(shout)
        client = await connect_tcp("127.0.0.1", port)
        await client.write(b"abc")
        assert await client.read(100) == b"ABC"
        await client.close()
        server.close()
        await server.wait_closed()

    asyncio.run(story())


def test_pty_is_a_raw_serial_port_behind_a_symlink(tmp_path):
    async def story():
        link = tmp_path / "tty-one"
        device = PtyStream(link)
        host = os.open(link, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(host)
        await device.write(bytes(range(256)))
        assert os.read(host, 1000) == bytes(range(256))
        reading = asyncio.create_task(device.read(100))
        await asyncio.sleep(0)
        os.write(host, b"\x00\x03\x0d\xff")
        assert await asyncio.wait_for(reading, 2) == b"\x00\x03\x0d\xff"
        reading = asyncio.create_task(device.read(100))
        await asyncio.sleep(0)
        await device.close()
        assert await asyncio.wait_for(reading, 2) == b""
        assert not link.exists()
        os.close(host)

    asyncio.run(story())


def test_pty_without_a_reader_drops_like_a_uart_and_paces_like_one():
    async def story():
        device = PtyStream(baud=10_000_000)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(200):
            await device.write(bytes(1000))
        assert device.dropped_bytes > 0
        assert loop.time() - start >= 0.15  # 200,000 bytes at 1,000,000 bytes/s, less the FIFO
        await device.close()
        with pytest.raises(BrokenPipeError):
            await device.write(b"x")

    asyncio.run(story())
