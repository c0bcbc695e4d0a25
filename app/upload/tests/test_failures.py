# ruff: noqa: PT009 (these run under Django's own test runner as well)
"""When disk or database fail in the middle, and when too much arrives at once."""

import errno
import fcntl
import os
import tempfile
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.db import IntegrityError, OperationalError
from django.db.models import QuerySet
from django.http import HttpResponse
from django.test import TestCase, TransactionTestCase

from upload import images
from upload.models import Picture
from upload.tests.base import MediaMixin
from upload.tests.pictures import picture

FULL = OSError(errno.ENOSPC, "No space left on device")


class DiskTests(MediaMixin, TestCase):
    def test_full_while_the_upload_arrives(self) -> None:
        with patch("upload.handlers.PictureUploadHandler.receive_data_chunk", side_effect=FULL):
            self.assert_refused(self.send(), "disk_full", 507)
            self.assertContains(self.send(accept="text/html"), "disk is full", status_code=507)

    def test_full_when_the_last_bytes_are_flushed(self) -> None:
        with patch("upload.handlers.PictureUploadHandler.file_complete", side_effect=FULL):
            self.assert_refused(self.send(), "disk_full", 507)

    def test_full_before_the_first_byte(self) -> None:
        with patch("pathlib.Path.mkdir", side_effect=OSError(errno.EDQUOT, "Disk quota exceeded")):
            self.assert_refused(self.send(), "disk_full", 507)

    def test_full_for_the_thumbnail(self) -> None:
        save = default_storage.save

        def fill(name, content):
            if name.startswith("thumbs/"):
                # As a real disk does: a part of the file is there already.
                save(name, BytesIO(b"half"))
                raise FULL
            return save(name, content)

        with patch.object(type(default_storage._wrapped), "save", side_effect=fill):
            response = self.send()
        self.assert_refused(response, "disk_full", 507)
        self.assertEqual(self.send().status_code, 201, "there is room again")

    def test_a_disk_that_cannot_be_written_to(self) -> None:
        with patch("pathlib.Path.mkdir", side_effect=OSError(errno.EROFS, "Read-only file system")):
            response = self.send()
        self.assert_refused(response, "unavailable", 503)
        self.assertEqual(response.headers["Retry-After"], "5")


class DatabaseTests(MediaMixin, TransactionTestCase):
    def test_fails_before_the_file(self) -> None:
        with patch("upload.models.Picture.objects.create", side_effect=OperationalError("gone")):
            self.assert_refused(self.send(), "unavailable", 503)

    def test_fails_between_file_and_row(self) -> None:
        original, calls = Picture.save, []

        def fail_the_second_time(row, *args, **kwargs):
            calls.append(row)
            if len(calls) == 2:
                self.assertIn("picture.jpg", self.files())
                raise OperationalError("gone")
            original(row, *args, **kwargs)

        with patch("upload.models.Picture.save", fail_the_second_time):
            self.assert_refused(self.send(), "unavailable", 503)
        self.assertEqual(len(calls), 2)

    def test_fails_at_the_commit(self) -> None:
        with patch("django.db.backends.base.base.BaseDatabaseWrapper.commit", side_effect=OperationalError("gone")):
            self.assert_refused(self.send(), "unavailable", 503)

    def test_a_page_without_a_database(self) -> None:
        with patch("django.db.models.query.QuerySet.aggregate", side_effect=OperationalError("gone")):
            self.assertEqual(self.client.get("/").status_code, 503)

    def test_somebody_else_takes_the_name_in_between(self) -> None:
        self.send()
        storage, queryset = type(default_storage._wrapped), "django.db.models.query.QuerySet.exists"

        def free_at_first(original):
            answers = [False]
            return lambda *args: answers.pop() if answers else original(*args)

        with (
            patch.object(storage, "exists", free_at_first(storage.exists)),
            patch(queryset, free_at_first(QuerySet.exists)),
        ):
            facts = self.send().json()
        self.assertRegex(facts["url"], r"^/media/picture_\w{7}\.jpg$")
        self.assertEqual(len(self.files()), 4)

    def test_other_integrity_errors_are_not_tried_again_for_ever(self) -> None:
        with patch("upload.models.Picture.objects.create", side_effect=IntegrityError("something else")):
            self.assert_refused(self.send(), "unavailable", 503)


class SeveralTests(MediaMixin, TransactionTestCase):
    """Several pictures in one plain form, of which not all can be kept."""

    def send_three(self) -> HttpResponse:
        parts = [("image_file", f"{name}.png", picture("png"), "image/png") for name in ("one", "two", "three")]
        return self.send_parts(*parts, accept="text/html")

    def test_what_was_kept_before_a_failure_is_said(self) -> None:
        keep, kept = Picture.keep, []

        def fail_the_third_time(*args, **kwargs):
            if len(kept) == 2:
                raise OSError(errno.ENOSPC, "full")
            kept.append(keep(*args, **kwargs))
            return kept[-1]

        with patch.object(Picture, "keep", fail_the_third_time):
            page = self.send_three()
        self.assertContains(page, "disk is full", status_code=507)
        self.assertContains(page, f'href="{kept[1].get_absolute_url()}"', status_code=507)
        self.assertEqual(Picture.objects.count(), 2)

    def test_a_form_that_takes_too_long_is_answered_in_time(self) -> None:
        with patch("upload.views.FORM_SECONDS", -1):
            page = self.send_three()
        self.assertContains(page, "Many pictures are arriving", count=3, status_code=503)
        self.assert_nothing_left()

    def test_after_one_that_waited_in_vain_none_waits(self) -> None:
        with patch("upload.forms.inspect", side_effect=ValidationError("Busy.", "busy")) as inspect:
            page = self.send_three()
        self.assertContains(page, "Many pictures are arriving", count=2, status_code=503)
        self.assertEqual(inspect.call_count, 1)
        self.assert_nothing_left()


class BusyTests(MediaMixin, TestCase):
    def test_the_wait_for_other_large_pictures_ends(self) -> None:
        path = Path(tempfile.gettempdir(), f"django-upload-{os.getuid()}.lock")
        with path.open("ab") as lock, patch.object(images, "PATIENCE_SECONDS", 0.1):
            fcntl.flock(lock, fcntl.LOCK_EX)
            response = self.send(picture("png"), "a.png")
            self.assert_refused(response, "busy", 503)
        self.assertEqual(response.headers["Retry-After"], "5")
        self.assertEqual(self.send(picture("png"), "a.png").status_code, 201)
