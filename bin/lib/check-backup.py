"""Read a manifest from standard input; print what a shell needs of it, or exit 1 with one line.

Needs nothing else.
"""

import json
import sys

try:
    manifest = json.load(sys.stdin)
    if manifest["kind"] != "django-on-docker backup":
        raise KeyError
    if manifest["format"] > 1:
        sys.exit("it was written by a newer version of this repository")
    print(manifest["database"]["sha256"], manifest["media"]["sha256"], manifest["media"]["files"], manifest["created"])
except (ValueError, KeyError, TypeError):
    sys.exit("its manifest is none of ours")
