"""Static files that can be replaced while the site is being read, and uploads that backups find whole.

Needs Django alone; STORAGES names both.
"""

import errno
import gzip
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage

KEPT_RELEASES = 3
COMPRESSED = (".css", ".js", ".svg", ".json", ".txt", ".html", ".xml", ".map")
HASHED = re.compile(r"\.[0-9a-f]{12}\.")
# What identifies this image's code: Dockerfile.prod writes it, beside this package.
RELEASE = Path(__file__).resolve().parent.parent / "RELEASE"


def release() -> str:
    """Return the name of this image's code, or "dev" where no image was built."""
    return RELEASE.read_text().strip() if RELEASE.exists() else "dev"


class UploadStorage(FileSystemStorage):
    """Files that outlive a power cut as their rows do, and that backups get even if they are deleted meanwhile."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return a free name, and not one whose last file a backup under way has: it would get the bytes of that."""
        while os.path.lexists(self.path(f".backup/{name}")):
            suffix = Path(name).suffix
            name = self.get_alternative_name(name.removesuffix(suffix), suffix)
        return super().get_available_name(name, max_length)

    def _save(self, name: str, content: File) -> str:
        # The database syncs each commit; a file of which it tells has to be on the disk before. (fsync(2): the entry in
        # the folder is a matter of its own.)
        name = super()._save(name, content)
        path = Path(self.path(name))
        for entry in (path, *(folder for folder in path.parents if folder.is_relative_to(self.location))):
            descriptor = os.open(entry, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            except OSError as error:
                # What a file system answers that cannot sync folders, such as CIFS.
                if entry == path or error.errno != errno.EINVAL:
                    raise
            finally:
                os.close(descriptor)
        return name

    def delete(self, name: str) -> None:
        """Delete a file; a backup under way, which has made the folder .backup, keeps a link to it."""
        path, backup = Path(self.path(name)), Path(self.path(".backup"))
        kept = path.relative_to(self.location)
        # No backup, a file that is gone, one that it has already. Folders can be deleted, but not linked.
        with suppress(FileNotFoundError, FileExistsError):
            for folder in reversed(kept.parents[:-1]):
                (backup / folder).mkdir(exist_ok=True)
            if not path.is_dir():
                os.link(path, backup / kept)
        super().delete(name)


class CompressedManifestStorage(ManifestStaticFilesStorage):
    """Hashed names with a gzip file beside each, added to those of earlier releases and never rewritten.

    Each release has a manifest of its own, so old and new containers can share the volume during a deploy. Files that
    none of the last three releases names are deleted.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.manifest_name = f"staticfiles-{release()}.json"
        super().__init__(*args, **kwargs)

    def _save(self, name: str, content: File) -> str:
        # A hashed name says what is in the file: one that is there is right, and somebody may be reading it.
        if HASHED.search(name) and self.exists(name):
            return name
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with partial.open("wb") as target:
            for chunk in content.chunks():
                target.write(chunk)
        partial.chmod(0o644)
        partial.replace(path)
        return name

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return the name as it is: _save replaces a file in one step, so nothing has to make way for it."""
        return name

    def delete(self, name: str) -> None:
        """Delete a file, but for hashed ones and the manifest, which somebody may be reading."""
        if not HASHED.search(name) and name != self.manifest_name:
            super().delete(name)

    def save_manifest(self) -> None:
        """Compress what was hashed, write the manifest last, then forget what is too old."""
        for name in set(self.hashed_files.values()):
            if name.endswith(COMPRESSED) and not self.exists(f"{name}.gz"):
                packed = gzip.compress(Path(self.path(name)).read_bytes(), compresslevel=9, mtime=0)
                self._save(f"{name}.gz", ContentFile(packed))
        super().save_manifest()
        self._forget_old_releases()

    def _forget_old_releases(self) -> None:
        root = Path(self.location)
        manifests = sorted(root.glob("staticfiles-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        wanted: set[str] = set()
        for manifest in manifests[:KEPT_RELEASES]:
            paths = json.loads(manifest.read_text())["paths"]
            # Both names of each file: a bundler's own names have hashes too, and bundles refer to each other by them.
            wanted.update(paths.keys(), paths.values())
        for manifest in manifests[KEPT_RELEASES:]:
            manifest.unlink()
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix().removesuffix(".gz")
            if HASHED.search(name) and name not in wanted and path.is_file():
                path.unlink()
