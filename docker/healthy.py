"""HEALTHCHECK of the images: exit code 0 once the service is ready, else 1 and its reason."""

import os
import ssl
import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

TLS = ssl._create_unverified_context()  # of this machine; the name in the certificate is another
OPENER = build_opener(ProxyHandler({}), HTTPSHandler(context=TLS))  # a proxy knows other machines


def main() -> int:
    """Ask /readyz."""
    scheme = "https" if "SEGMIF_TLS_CERTIFICATE" in os.environ else "http"
    port = os.environ.get("SEGMIF_PORT", "")
    if not port.isdecimal():  # Kubernetes sets tcp://... for a Service of this name
        port = "8000"
    try:
        with OPENER.open(f"{scheme}://127.0.0.1:{port}/readyz", timeout=5) as answer:
            print(answer.read().decode())
            return 0
    except HTTPError as error:
        print(error.read().decode())
    except (HTTPException, OSError) as error:
        print(error)
    return 1


if __name__ == "__main__":
    sys.exit(main())
