"""healthcheck.py [PORT [PATH]]: exit 0 if the server in this container answers there (default: 8000 /healthz).

Needs nothing else.
"""

import sys
from http.client import HTTPConnection

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
PATH = sys.argv[2] if len(sys.argv) > 2 else "/healthz"

connection = HTTPConnection("127.0.0.1", PORT, timeout=3)
try:
    connection.request("GET", PATH)
    status = connection.getresponse().status
except OSError as error:
    sys.exit(f"no answer on port {PORT}: {error}")
sys.exit(None if status == 200 else f"{PATH} answered {status}")
