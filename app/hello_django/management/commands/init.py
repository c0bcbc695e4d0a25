"""What one deploy needs once, before any new web container starts. Safe to run while old ones serve.

Needs env.py, the command wait_for_database, and the setting FILE_UPLOAD_TEMP_DIR.
"""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from hello_django import env


class Command(BaseCommand):
    # They want the folder that handle() makes; migrate runs them.
    requires_system_checks = []
    help = "Wait for the database, apply migrations, collect static files."

    def handle(self, **options: Any) -> None:
        """Raise CommandError when the database refuses or stays away, and whatever the checks find."""
        Path(settings.FILE_UPLOAD_TEMP_DIR).mkdir(parents=True, exist_ok=True)
        # The tutorial's variable: without it there is no server to wait for (SQLite).
        if env.text("DATABASE"):
            call_command("wait_for_database")
        # Called from code, commands skip the checks unless told: they import the URLs, which nothing else does before
        # the first visitor comes.
        call_command("migrate", interactive=False, skip_checks=False)
        call_command("collectstatic", interactive=False, verbosity=1)
