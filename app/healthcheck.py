"""Exit 0 if the server in this container answers /healthz, for both servers: uWSGI has an HTTP port on loopback."""

import os
import sys
from http.client import HTTPConnection

PORT = int(os.environ.get("HEALTH_PORT", "8000"))

connection = HTTPConnection("127.0.0.1", PORT, timeout=3)
try:
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
except OSError as error:
    sys.exit(f"no answer on port {PORT}: {error}")
sys.exit(None if status == 200 else f"/healthz answered {status}")
