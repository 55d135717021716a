"""One process of clients for `serving_load.py`: sends requests one after the other from each client, and times them.

Reads the raw requests from a file, one a line in base64, and prints what happened as JSON.
"""

import argparse
import asyncio
import base64
import collections
import json
import random
import time

import grpc

METHOD = "/tensorflow.serving.PredictionService/Predict"
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


async def client(address, requests, end, seconds, statuses, seed, pause):
    order = random.Random(seed)
    await asyncio.sleep(pause * order.random())
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.unary_unary(METHOD)
        while time.time() < end:
            start = time.perf_counter()
            try:
                await call(order.choice(requests), timeout=60)
            except grpc.aio.AioRpcError as error:
                statuses[error.code().name] += 1
                await asyncio.sleep(0.01)
            else:
                statuses["OK"] += 1
                seconds.append((round(time.time(), 3), round(time.perf_counter() - start, 6)))
            await asyncio.sleep(max(0.0, pause - time.perf_counter() + start))


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
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
    work = [
        client(options.address, requests, end, seconds, statuses, options.seed * 10_000 + number, options.pause)
        for number in range(options.clients)
    ]
    await asyncio.gather(*work)
    print(json.dumps({"seconds": seconds, "statuses": statuses}))


if __name__ == "__main__":
    asyncio.run(main())
