# ruff: noqa: PT009 (these run under Django's own test runner as well)
"""What every test of the app starts with."""

import logging
import shutil
import tempfile
from pathlib import Path

from django.core.cache import cache
from django.http import HttpResponse
from django.test import override_settings

from upload.models import Picture
from upload.tests.pictures import TYPES, multipart, picture

STORAGES = {
    "default": {"BACKEND": "hello_django.storage.UploadStorage"},
    # The one of production needs collectstatic first.
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "upload-tests"}}


class MediaMixin:
    """A media folder of its own for each test, and short ways to upload and to look at what is left."""

    def setUp(self) -> None:
        super().setUp()
        self.media = Path(tempfile.mkdtemp(prefix="upload-tests-"))
        self.addCleanup(shutil.rmtree, self.media, ignore_errors=True)
        overridden = override_settings(
            MEDIA_ROOT=self.media,
            FILE_UPLOAD_TEMP_DIR=self.media / ".incoming",
            STORAGES=STORAGES,
            CACHES=CACHES,
            MAX_UPLOAD_MB=4,
            UPLOAD_REQUIRES_LOGIN=False,
        )
        overridden.enable()
        self.addCleanup(overridden.disable)
        cache.clear()
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def send(
        self, content: bytes | None = None, name: str = "picture.jpg", media_type: str | None = None, **headers: str
    ) -> HttpResponse:
        """Upload one picture as a program does; the media type is the name's unless given."""
        content = picture() if content is None else content
        if media_type is None:
            media_type = TYPES.get(name.rpartition(".")[2].lower().replace("jpeg", "jpg"), "application/octet-stream")
        return self.send_parts(("image_file", name, content, media_type), **headers)

    def send_parts(self, *parts: tuple[str, str | None, bytes, str], **headers: str) -> HttpResponse:
        """Upload a form of these parts; asks for JSON unless told otherwise."""
        body, content_type = multipart(*parts)
        return self.client.post("/", body, content_type=content_type, headers={"accept": "application/json"} | headers)

    def files(self) -> list[str]:
        """Return the paths of all files in the media folder, temporary ones included."""
        return sorted(str(path.relative_to(self.media)) for path in self.media.rglob("*") if path.is_file())

    def assert_nothing_left(self) -> None:
        self.assertEqual(self.files(), [])
        self.assertEqual(Picture.objects.count(), 0)

    def assert_refused(self, response: HttpResponse, code: str, status: int = 400) -> None:
        """The answer is this error, in JSON, and nothing was kept."""
        self.assertEqual(response.headers["Content-Type"], "application/json", response.content[:200])
        error = response.json()["error"]
        self.assertEqual((error["code"], response.status_code), (code, status))
        self.assertGreater(len(error["message"]), 10)
        self.assert_nothing_left()
