"""Terminates TLS in front of a server: tls_proxy.py PORT TARGET_PORT CERTIFICATE_AND_KEY"""

import asyncio
import ssl
import sys

port, target, both = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def serve(reader, writer):
    try:
        inside = await asyncio.open_connection("127.0.0.1", target)
    except OSError:
        return writer.close()
    await asyncio.gather(pump(reader, inside[1]), pump(inside[0], writer))


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


asyncio.run(main())
