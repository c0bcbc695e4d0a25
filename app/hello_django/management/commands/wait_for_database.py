"""Wait until the database takes queries: what the tutorials do with netcat, which only sees an open port.

Needs Django alone.
"""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.utils import Error

# What waiting won't mend, as libpq and MySQL word it.
FINAL = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "Access denied",
    "Unknown database",
)


class Command(BaseCommand):
    help = "Wait until the database answers a query."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--timeout", type=float, default=120, help="seconds to wait at most (default: 120)")

    def handle(self, *, timeout: float, **options: Any) -> None:
        """Raise CommandError when the database refuses for good, or has not answered in time."""
        settings = connection.settings_dict
        where = f"{settings['USER']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
        deadline = time.monotonic() + timeout
        told = False
        while True:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            except Error as error:
                reason = " ".join(str(error).split())
            else:
                if told:
                    self.stdout.write("The database answers.")
                return
            connection.close()
            if any(words in reason for words in FINAL):
                raise CommandError(f"The database refuses {where}: {reason}")
            if time.monotonic() > deadline:
                raise CommandError(f"No database at {where} after {timeout:.0f} s: {reason}")
            if not told:
                told = True
                self.stdout.write(f"Waiting for the database {where} ...")
            time.sleep(0.2)
