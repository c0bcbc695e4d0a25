"""Static files with hashed names, for a project that was not written with them in mind.

Needs storage.py of this package.
"""

from typing import Any

from on_docker.storage import CompressedManifestStorage


class PatientManifestStorage(CompressedManifestStorage):
    """A name that no file has stays as it is: a dead link is no error 500, and fails no deploy."""

    manifest_strict = False

    def hashed_name(self, name: str, content: Any = None, filename: str | None = None) -> str:
        """Return the name with the file's hash, or the name itself where there is no such file."""
        try:
            return super().hashed_name(name, content, filename)
        except ValueError:
            return name
