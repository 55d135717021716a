"""Ends with 0 once the embedded server's models are loaded: the health check of Dockerfile.embedded.

It asks /readyz on $REST_PORT (8501), over HTTP or else over HTTPS, and takes any certificate: it asks its own machine,
for one word. Where clients need a certificate (mTLS) it cannot ask: start such a container with --no-healthcheck.
"""

import http.client
import os
import ssl
import sys

_SECONDS = 2.5  # twice, within the timeout of the health check


def main() -> int:
    """Return 0 if the server is ready."""
    port = int(os.environ.get("REST_PORT", "8501"))
    plain = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    encrypted = http.client.HTTPSConnection("127.0.0.1", port, timeout=_SECONDS, context=_any_certificate())
    reasons = []
    for connection in (plain, encrypted):
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{type(error).__name__}: {error}")
            continue
        if status != 200:
            print(f"/readyz says {status}", file=sys.stderr)
        return int(status != 200)
    print(f"/readyz cannot be asked: {'; '.join(reasons)}", file=sys.stderr)
    return 1


def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main())
