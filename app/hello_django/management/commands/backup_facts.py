"""What a backup has to say about the code and the data that it belongs to.

Needs storage.py.
"""

import json
import sys
from argparse import ArgumentParser
from typing import Any

import django
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from hello_django.storage import release


class Command(BaseCommand):
    help = "Print what a backup's manifest says of code and database; with --check, compare one from standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="read a manifest, fail if this code can't take it")

    def handle(self, *, check: bool, **options: Any) -> None:
        """Raise CommandError when the backup is of another database engine, or of newer code."""
        if check:
            self.check_manifest(json.load(sys.stdin))
            return
        facts = {
            "engine": connection.vendor,
            "database_version": ".".join(map(str, connection.get_database_version())),
            "django": django.get_version(),
            "release": release(),
            "migrations": sorted(".".join(key) for key in MigrationLoader(connection).applied_migrations),
        }
        self.stdout.write(json.dumps(facts))

    def check_manifest(self, manifest: dict[str, Any]) -> None:
        """Raise CommandError with one line when this code can't take the backup."""
        if manifest["engine"] != connection.vendor:
            raise CommandError(f"it is a backup of {manifest['engine']}, and this stack has {connection.vendor}")
        theirs = int(manifest["database_version"].split(".")[0])
        ours = connection.get_database_version()[0]
        if theirs > ours:
            raise CommandError(f"it comes from version {theirs} of the database, and {ours} cannot read it")
        known = {".".join(key) for key in MigrationLoader(None).disk_migrations}
        if newer := sorted(set(manifest["migrations"]) - known):
            raise CommandError(f"it is of newer code: this one has no migration {newer[-1]}")
