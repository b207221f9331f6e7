"""Whether the node of this container is ready: exit code 0 or 1. HTTPS where it has a certificate.

It asks its own loopback, where nobody stands between, so the certificate is not looked at.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

_WITHIN_S = 2

is_tls = "SADIK_TLS__HTTP__CERT" in os.environ
port = os.environ.get("SADIK_LISTEN__HTTP", "").rpartition(":")[2] or "7070"
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
url = f"http{'s' if is_tls else ''}://127.0.0.1:{port}/readyz"
try:
    urllib.request.urlopen(  # noqa: S310 - its own node
        url, timeout=_WITHIN_S, context=context if is_tls else None
    ).close()
except urllib.error.HTTPError as error:
    sys.exit(f"not ready: {error.read(2000).decode(errors='replace')}")
except OSError as error:
    sys.exit(f"does not answer: {error}")
