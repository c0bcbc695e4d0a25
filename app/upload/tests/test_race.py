# ruff: noqa: PT009 (these run under Django's own test runner as well)
"""A hundred uploads of one name at once, by threads with a connection each."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.db import connection, connections
from django.test import TransactionTestCase

from upload.models import Picture
from upload.tests.base import MediaMixin
from upload.tests.pictures import picture

UPLOADS = 100
THREADS = 10


class RaceTests(MediaMixin, TransactionTestCase):
    def upload(self, number: int) -> tuple[int, bytes]:
        content = picture(size=(20, 20 + number))
        try:
            return self.send(content, "same.jpg").status_code, content
        finally:
            connections.close_all()

    def test_a_hundred_uploads_of_one_name(self) -> None:
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            return self.run_again_on_a_file()
        with ThreadPoolExecutor(THREADS) as pool:
            results = list(pool.map(self.upload, range(UPLOADS)))
        self.assertEqual({status for status, _ in results}, {201})
        self.assertEqual(Picture.objects.count(), UPLOADS)
        kept = sorted(path.read_bytes() for path in self.media.glob("*.jpg"))
        self.assertEqual(kept, sorted(content for _, content in results))
        self.assertEqual(len(list(self.media.glob("thumbs/*"))), UPLOADS)
        self.assertEqual(Picture.objects.filter(file="same.jpg").count(), 1)

    def run_again_on_a_file(self) -> None:
        """Threads cannot share the test runner's database in memory."""
        script = (
            "import django; from django.conf import settings;"
            f"settings.DATABASES['default']['TEST'] = {{'NAME': {str(self.media / 'race.sqlite3')!r}}};"
            "django.setup(); from django.core.management import call_command as call;"
            "call('test', 'upload.tests.test_race')"
        )
        environment = os.environ | {"DJANGO_SETTINGS_MODULE": "hello_django.settings"}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=settings.BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Ran 1 test", done.stderr)
