"""Write tf_serving.binpb: the messages and services of TensorFlow Serving, for Envoy's gRPC-JSON transcoder.

    python serving/envoy/make_descriptors.py        (or: make protos)

They are those of the official package, so what Envoy understands is what the server speaks.
"""

import sys
from pathlib import Path

from google.protobuf import descriptor_pb2
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

OUTPUT = Path(__file__).parent / "tf_serving.binpb"


def descriptors() -> bytes:
    found = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file) -> None:
        if file.name not in seen:
            seen.add(file.name)
            for needed in file.dependencies:
                add(needed)
            file.CopyToProto(found.file.add())

    for module in (prediction_service_pb2, model_service_pb2):
        add(module.DESCRIPTOR)
    return found.SerializeToString(deterministic=True)


if __name__ == "__main__":
    OUTPUT.write_bytes(descriptors())
    print(f"Wrote {OUTPUT}.", file=sys.stderr)
