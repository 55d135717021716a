"""What a client makes of servers that die, come, slow down, go silent and are full: figures, with real servers.

    python benchmarks/client_faults.py [--calls 3000]

The servers are those of the client's tests, in processes of their own. The last line is all figures as JSON.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "client")]

from rough_servers import Answers, Proxy, free_port, processes, running  # noqa: E402

from tfllm.client import addresses  # noqa: E402
from tfllm.client.config import ConnectionConfig  # noqa: E402
from tfllm.client.transport import GrpcTransport  # noqa: E402
from tfllm.errors import CallError, Overloaded, Timeout  # noqa: E402

CALLERS = 6


def connected(address, **settings):
    return GrpcTransport(address, ConnectionConfig(wait_for_ready=True, **settings))


def load(ask, calls):
    """Ask so often from some threads; return the milliseconds of each call, and what failed."""
    failed = []

    def timed(number):
        start = time.perf_counter()
        try:
            ask(number)
        except CallError as error:
            failed.append(str(error))
        return 1000 * (time.perf_counter() - start)

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(timed, range(calls))), failed


def shown(times, failed=()):
    cuts = statistics.quantiles(times, n=100)
    return {
        "calls": len(times),
        "failed": len(failed),
        "p50_ms": round(cuts[49], 1),
        "p99_ms": round(cuts[98], 1),
        "longest_ms": round(max(times), 1),
    }


def kill(calls):
    """One of three servers is killed when half of the calls are done."""
    with processes("abc", late=dict.fromkeys("abc", 0.005)) as servers:
        transport = connected(list(servers))
        transport.call("/Echo/", b"x", 20)
        before = load(lambda _: transport.call("/Echo/", b"x", 20), calls // 3)

        def ask(number):
            if number == calls // 2:
                next(iter(servers.values())).kill()
            transport.call("/Echo/", b"x", 20)

        during = load(ask, calls)
        transport.close()
    return {"before": shown(*before), "with a kill": shown(*during)}


def add(_):
    """A name stands for a second server from now on: the seconds until it has its share, 40 % of 60 calls."""
    port, known = free_port(), {"first.test": ["127.0.0.1"], "second.test": []}

    def look_up(host):
        return [(addresses.ipaddress.ip_address(found), str(port)) for found in known[host.partition(":")[0]]]

    with mock.patch.object(addresses, "_look_up", look_up), processes("a", port=port):  # as a name server would say
        transport = connected([f"{name}:{port}" for name in known])
        transport.call("/Echo/", b"x", 5)
        with processes("b", port=port, host="127.0.0.2"):
            known["second.test"] = ["127.0.0.2"]
            start, last = time.monotonic(), []
            while last[-60:].count(b"b") < 24 and time.monotonic() - start < 30:
                last.append(transport.call("/Echo/", b"x", 5))
                time.sleep(0.005)
            seconds = time.monotonic() - start
            transport.close()
    return {"seconds_to_its_share": round(seconds, 1), "refresh_seconds": ConnectionConfig().refresh}


def slow(calls):
    """One of three servers takes 0.3 s; the others 5 ms."""
    with processes("abc", late={"a": 0.005, "b": 0.3, "c": 0.005}) as servers:
        found = {}
        for name, settings in (("plain", {}), ("hedged", {"hedge_after": 0.03, "max_attempts": 5})):
            transport = connected(list(servers), **settings)
            load(lambda _, to=transport: to.call("/Echo/", b"x", 20), 12)
            found[name] = shown(*load(lambda _, to=transport: to.call("/Echo/", b"x", 20), calls // 6))
            transport.close()
    return found


def restart(_):
    """The only server is killed and starts again on its port, about a second later, under calls."""
    port = free_port()
    with processes("a", port=port):
        transport = connected(f"127.0.0.1:{port}")
        transport.call("/Echo/", b"x", 20)
        stop, results = threading.Event(), []

        def keep_asking():
            while not stop.is_set():
                results.append(load(lambda _: transport.call("/Echo/", b"x", 20), CALLERS))

        asking = threading.Thread(target=keep_asking)
        asking.start()
        time.sleep(0.5)
    time.sleep(1)
    with processes("b", port=port):
        while transport.call("/Echo/", b"x", 20) != b"b":
            time.sleep(0.01)
        stop.set()
        asking.join()
        transport.close()
    return shown([each for times, _ in results for each in times], [each for _, failed in results for each in failed])


def silent(_):
    """A proxy stops forwarding without closing: how many calls of 0.3 s are lost until a new connection answers."""
    with processes("a") as servers:
        proxy = Proxy(next(iter(servers)))
        transport = connected(proxy.address)
        transport.call("/Echo/", b"x", 5)
        proxy.hush()
        start, lost, late = time.monotonic(), 0, []
        while True:
            begin = time.monotonic()
            try:
                transport.call("/Echo/", b"x", 0.3)
                break
            except Timeout:
                late.append(1000 * (time.monotonic() - begin - 0.3))
                lost += 1
        seconds = time.monotonic() - start
        transport.close()
        proxy.close()
    return {"calls_lost": lost, "seconds": round(seconds, 2), "latest_ms_after_deadline": round(max(late), 1)}


def deadline(calls):
    """Calls to a server that sleeps longer than they may take, plain, hedged, and where nobody listens."""
    found = {}
    with processes("a", late={"a": 2.0}) as servers:
        address = next(iter(servers))
        for name, where, settings in (
            ("sleeping server", address, {}),
            ("sleeping server, hedged", address, {"hedge_after": 0.02}),
            ("no server", f"127.0.0.1:{free_port()}", {}),
        ):
            transport = connected(where, **settings)
            late = []
            for number in range(max(10, calls // 100)):
                seconds = 0.05 + 0.01 * (number % 10)
                start = time.perf_counter()
                try:
                    transport.call("/Echo/", b"x", seconds)
                except Timeout:
                    late.append(1000 * (time.perf_counter() - start - seconds))
            found[name] = {"calls": len(late), "latest_ms_after_deadline": round(max(late), 1)}
            transport.close()
    return found


def overload(calls):
    """A server that says RESOURCE_EXHAUSTED to all: attempts a call, with a budget of 20 failures and without."""
    found = {}
    for name, budget in (("with a budget of 20", 20), ("without a budget", 0)):
        answers = Answers()
        with running(answers) as address:
            transport = connected(address, initial_backoff=0.01, max_attempts=4, retry_budget=budget)
            start = time.perf_counter()
            for _ in range(calls // 30):
                try:
                    transport.call("/Fail/RESOURCE_EXHAUSTED", b"x", 5)
                except Overloaded:
                    continue
            seconds = time.perf_counter() - start
            transport.close()
        found[name] = {"calls": calls // 30, "attempts": answers.calls, "seconds": round(seconds, 2)}
    return found


def large(_):
    """Answers of 5 and 50 MB."""
    found = {}
    for megabytes in (5, 50):
        with running(Answers(b"x" * megabytes * 10**6)) as address:
            transport = connected(address)
            start = time.perf_counter()
            size = len(transport.call("/Echo/", b"", 60))
            found[f"{megabytes} MB"] = {"bytes": size, "seconds": round(time.perf_counter() - start, 2)}
            transport.close()
    return found


FAULTS = (kill, add, slow, restart, silent, deadline, overload, large)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=3000)
    options = parser.parse_args()
    found = {}
    for fault in FAULTS:
        found[fault.__name__] = fault(options.calls)
        print(f"{fault.__name__}: {fault.__doc__}\n    {json.dumps(found[fault.__name__])}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
