"""A gRPC server that answers at once: plain HTTP/2 frames with bytes made before, so that its clients are measured.

It prints its port. It takes what gRPC clients send to a server without TLS, looks for the model's name in a request,
and knows no other errors than a broken connection. Its answers fit the window that clients give from the start.
"""

import socket
import threading

import numpy as np

from tfllm.wire import messages, tensors

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
LARGEST_WINDOW = 2**31 - 1
USUAL_WINDOW = 2**16 - 1
REFILL = 2**20


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def header(name, value):
    """Return a header without compression."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def answer(rows):
    response = messages.PredictResponse(model_spec={"name": "m", "version": {"value": 1}})
    tensors.fill(response.outputs["label"], ["good"] * rows)
    tensors.fill(response.outputs["score"], np.full(rows, 0.9, "float32"))
    tensors.fill(response.outputs["scores"], np.full((rows, 2), 0.5, "float32"))
    data = response.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


ANSWERS = {b"texts256": answer(256), b"texts": answer(1)}
BEGIN = b"\x88" + header(b"content-type", b"application/grpc")  # 0x88 is ":status: 200"
END = header(b"grpc-status", b"0")


def replies(stream, request):
    body = next(data for name, data in ANSWERS.items() if name in request)
    yield frame(HEADERS, END_HEADERS, stream, BEGIN)
    yield frame(DATA, 0, stream, body)
    yield frame(HEADERS, END_HEADERS | END_STREAM, stream, END)


def frames(connection):
    """Yield lists of frames as they come."""
    pending = bytearray()
    skipped = False
    while received := connection.recv(2**18):
        pending += received
        if not skipped and len(pending) >= PREFACE:
            del pending[:PREFACE]
            skipped = True
        at, found = 0, []
        while skipped and len(pending) - at >= 9:
            end = at + 9 + int.from_bytes(pending[at : at + 3], "big")
            if end > len(pending):
                break
            kind, flags, stream = pending[at + 3], pending[at + 4], int.from_bytes(pending[at + 5 : at + 9], "big")
            found.append((kind, flags, stream, bytes(pending[at + 9 : end])))
            at = end
        del pending[:at]
        yield found


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    window = (LARGEST_WINDOW - USUAL_WINDOW).to_bytes(4, "big")
    connection.sendall(frame(SETTINGS, 0, 0, b"") + frame(WINDOW_UPDATE, 0, 0, window))
    taken, bodies = 0, {}
    for group in frames(connection):
        said = []
        for kind, flags, stream, payload in group:
            if kind == DATA:
                taken += len(payload)
                bodies[stream] = bodies.get(stream, b"") + payload
                if flags & END_STREAM:
                    said += replies(stream, bodies.pop(stream))
            elif kind == SETTINGS and not flags & ACK:
                said.append(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                said.append(frame(PING, ACK, 0, payload))
        if taken > REFILL:
            said.append(frame(WINDOW_UPDATE, 0, 0, taken.to_bytes(4, "big")))
            taken = 0
        connection.sendall(b"".join(said))


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
