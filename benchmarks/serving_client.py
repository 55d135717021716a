"""One process of clients for `drive` in `serving_machine.py`: each sends one request after the other, and times them.

Reads the raw requests from a file, one a line in base64, and prints what happened as JSON.
"""

import argparse
import asyncio
import base64
import collections
import contextlib
import json
import random
import time

import aiohttp
import grpc

METHOD = "/tensorflow.serving.PredictionService/Predict"
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


@contextlib.asynccontextmanager
async def grpc_caller(address):
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.unary_unary(METHOD)

        async def ask(request):
            try:
                await call(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "OK"

        yield ask


@contextlib.asynccontextmanager
async def rest_caller(url):
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:

        async def ask(body):
            try:
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    return "OK" if answer.status == 200 else str(answer.status)
            except (aiohttp.ClientError, TimeoutError) as error:
                return type(error).__name__

        yield ask


async def client(caller, requests, end, seconds, statuses, seed, pause):
    order = random.Random(seed)
    await asyncio.sleep(pause * order.random())
    async with caller as ask:
        while time.time() < end:
            start = time.perf_counter()
            status = await ask(order.choice(requests))
            statuses[status] += 1
            if status == "OK":
                seconds.append((round(time.time(), 3), round(time.perf_counter() - start, 6)))
            else:
                await asyncio.sleep(0.01)
            await asyncio.sleep(max(0.0, pause - time.perf_counter() + start))


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address", help="host:port of gRPC, or the URL of REST")
    parser.add_argument("requests")
    parser.add_argument("--clients", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds from one request of a client to its next")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with open(options.requests, encoding="ascii") as file:
        requests = [base64.b64decode(line) for line in file]
    seconds, statuses = [], collections.Counter()
    end = time.time() + options.seconds
    caller = rest_caller if options.address.startswith("http:") else grpc_caller
    work = [
        client(caller(options.address), requests, end, seconds, statuses, options.seed * 10_000 + number, options.pause)
        for number in range(options.clients)
    ]
    await asyncio.gather(*work)
    print(json.dumps({"seconds": seconds, "statuses": statuses}))


if __name__ == "__main__":
    asyncio.run(main())
