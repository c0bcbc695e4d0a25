"""healthcheck.py [PORT]: exit 0 if the server in this container answers /healthz on that port (default: 8000)."""

import sys
from http.client import HTTPConnection

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8000

connection = HTTPConnection("127.0.0.1", PORT, timeout=3)
try:
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
except OSError as error:
    sys.exit(f"no answer on port {PORT}: {error}")
sys.exit(None if status == 200 else f"/healthz answered {status}")
