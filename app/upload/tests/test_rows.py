# ruff: noqa: PT009, PT027 (these run under Django's own test runner as well)
"""Rows and their files: deleting, the admin, and the command that compares both."""

import os
import time
from io import StringIO
from unittest.mock import patch

from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import TestCase, TransactionTestCase

from upload.management.commands.check_uploads import Command
from upload.models import Picture
from upload.tests.base import MediaMixin
from upload.tests.pictures import picture


class DeleteTests(MediaMixin, TransactionTestCase):
    def test_a_row_takes_its_files_with_it_and_no_others(self) -> None:
        for name in ("one.jpg", "two.jpg", "one.jpg"):
            self.send(name=name)
        Picture.objects.get(file="one.jpg").delete()
        files = self.files()
        self.assertEqual(len(files), 4)
        self.assertNotIn("one.jpg", files)
        self.assertIn("two.jpg", files)

    def test_many_rows_at_once(self) -> None:
        for index in range(3):
            self.send(name=f"{index}.jpg")
        Picture.objects.filter(name__in=["0.jpg", "1.jpg"]).delete()
        self.assertEqual(self.files(), ["2.jpg", "thumbs/2.jpg.webp"])

    def test_a_rollback_keeps_the_files(self) -> None:
        self.send()
        with transaction.atomic():
            Picture.objects.all().delete()
            transaction.set_rollback(True)
        self.assertEqual(len(self.files()), 2)
        self.assertEqual(Picture.objects.count(), 1)

    def test_files_that_are_gone_already(self) -> None:
        self.send()
        (self.media / "picture.jpg").unlink()
        Picture.objects.get().delete()
        self.assert_nothing_left()

    def test_a_name_that_was_given_out_again(self) -> None:
        self.send()
        old = Picture.objects.get()
        (self.media / "picture.jpg").unlink()
        with transaction.atomic():
            old.delete()
            Picture.objects.create(file="picture.jpg", thumbnail="thumbs/other.webp", size=1, width=1, height=1)
            (self.media / "picture.jpg").write_bytes(b"somebody else's")
        self.assertIn("picture.jpg", self.files())

    def test_a_name_can_be_used_again(self) -> None:
        self.send()
        Picture.objects.get().delete()
        self.assertEqual(self.send().json()["url"], "/media/picture.jpg")

    def test_capital_letters_do_not_matter_where_the_database_thinks_so(self) -> None:
        for name in ("cat.jpg", "CAT.jpg", "Cat.JPG", "😀.jpg", "😁.jpg", "cät.jpg"):
            self.assertEqual(self.send(name=name).status_code, 201)
        self.assertEqual(Picture.objects.count(), 6)
        self.assertEqual(len(self.files()), 12)


class AdminTests(MediaMixin, TransactionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.send(name="first.jpg")
        self.send(name="second.png", content=picture("png"))
        self.client.force_login(get_user_model().objects.create_superuser("root", password="x"))
        self.first = Picture.objects.get(name="first.jpg")

    def test_list_with_thumbnails_and_search(self) -> None:
        page = self.client.get("/admin/upload/picture/")
        self.assertContains(page, 'src="/media/thumbs/first.jpg.webp"')
        page = self.client.get("/admin/upload/picture/", {"q": "second"})
        self.assertNotContains(page, "first.jpg")
        self.assertContains(page, "second.png")
        page = self.client.get("/admin/upload/picture/", {"q": self.first.sha256})
        self.assertContains(page, "first.jpg")

    def test_edit(self) -> None:
        url = f"/admin/upload/picture/{self.first.pk}/change/"
        self.assertContains(self.client.get(url), self.first.sha256)
        self.client.post(url, {"title": "A cat", "name": "../other"})
        self.first.refresh_from_db()
        self.assertEqual((self.first.title, self.first.name), ("A cat", "first.jpg"))

    def test_delete_one_and_in_bulk(self) -> None:
        self.client.post(f"/admin/upload/picture/{self.first.pk}/delete/", {"post": "yes"})
        self.assertEqual(self.files(), ["second.png", "thumbs/second.png.webp"])
        keys = list(Picture.objects.values_list("pk", flat=True))
        self.client.post(
            "/admin/upload/picture/", {"action": "delete_selected", "_selected_action": keys, "post": "yes"}
        )
        self.assert_nothing_left()

    def test_nothing_can_be_added_past_the_checks(self) -> None:
        self.assertEqual(self.client.get("/admin/upload/picture/add/").status_code, 403)


@patch("upload.management.commands.check_uploads.SETTLE_SECONDS", 0)
class CheckUploadsTests(MediaMixin, TransactionTestCase):
    def test_a_file_whose_row_was_committed_meanwhile_stays(self) -> None:
        self.send(name="cat.jpg")
        (self.media / "dog.jpg").write_bytes(b"of no picture")
        for name in ("cat.jpg", "thumbs/cat.jpg.webp", "dog.jpg"):
            Command().remove(name)
        self.assertEqual(self.files(), ["cat.jpg", "thumbs/cat.jpg.webp"])
        self.assertEqual(Picture.objects.count(), 1)

    def check(self, *arguments: str) -> str:
        output = StringIO()
        call_command("check_uploads", *arguments, stdout=output)
        return output.getvalue()

    def assert_mended(self, *lines: str) -> None:
        """Each line is reported with an error, then mended, then nothing is wrong."""
        output = StringIO()
        with self.assertRaises(CommandError) as error:
            call_command("check_uploads", stdout=output)
        self.assertIn(str(len(lines)), str(error.exception))
        for line in lines:
            self.assertIn(line, output.getvalue())
        self.assertIn("Mended", self.check("--fix"))
        self.assertIn("Nothing wrong", self.check())

    def test_nothing_wrong(self) -> None:
        self.assertIn("Nothing wrong", self.check())
        self.send()
        self.assertIn("Nothing wrong", self.check())

    def test_files_without_rows(self) -> None:
        self.send()
        (self.media / "猫.png").write_bytes(b"x")
        (self.media / "thumbs/lost.webp").write_bytes(b"x")
        self.assert_mended("猫.png: of no picture", "thumbs/lost.webp: of no picture")
        self.assertEqual(self.files(), ["picture.jpg", "thumbs/picture.jpg.webp"])

    def test_a_row_without_its_file(self) -> None:
        self.send()
        self.send(name="other.jpg")
        (self.media / "picture.jpg").unlink()
        self.assert_mended("picture.jpg: lost")
        self.assertEqual(self.files(), ["other.jpg", "thumbs/other.jpg.webp"])

    def test_a_row_without_its_thumbnail(self) -> None:
        self.send()
        thumbnail = self.media / "thumbs/picture.jpg.webp"
        before = thumbnail.read_bytes()
        thumbnail.unlink()
        self.assert_mended("thumbs/picture.jpg.webp: lost")
        self.assertEqual(thumbnail.read_bytes(), before)

    def test_leftovers_of_uploads(self) -> None:
        incoming = self.media / ".incoming"
        incoming.mkdir()
        for name, age in (("old.upload", 7200), ("new.upload", 60)):
            (incoming / name).write_bytes(b"x")
            os.utime(incoming / name, (time.time() - age,) * 2)
        self.assert_mended("old.upload: left by an upload")
        self.assertEqual(self.files(), [".incoming/new.upload"])

    def test_an_empty_storage_is_not_taken_for_lost_files(self) -> None:
        self.send()
        for path in self.files():
            (self.media / path).unlink()
        with self.assertRaises(CommandError):
            self.check("--fix")
        self.assertEqual(Picture.objects.count(), 1)


class ModelTests(TestCase):
    def test_no_migration_is_missing(self) -> None:
        call_command("makemigrations", "upload", check=True, dry_run=True, verbosity=0)
