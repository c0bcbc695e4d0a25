"""What one deploy needs once, before any new web container starts. Safe to run while old ones serve."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from hello_django import env


class Command(BaseCommand):
    help = "Wait for the database, apply migrations, collect static files."

    def handle(self, **options: Any) -> None:
        """Raise CommandError when the database refuses or stays away."""
        # The tutorial's variable: without it there is no server to wait for (SQLite).
        if env.text("DATABASE"):
            call_command("wait_for_database")
        call_command("migrate", interactive=False)
        call_command("collectstatic", interactive=False, verbosity=1)
