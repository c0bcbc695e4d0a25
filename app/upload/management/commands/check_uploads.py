"""Compares the table of pictures with the storage, both ways."""

import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage as storage
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, transaction
from PIL import Image

from upload.images import make_thumbnail
from upload.models import Picture

STALE_SECONDS, SETTLE_SECONDS = 3600, 2


class Command(BaseCommand):
    help = "List pictures without files, files without pictures, and leftovers; the exit status is 1 if there are any."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fix", action="store_true", help="make thumbnails again, delete all else that is listed")

    def handle(self, *, fix: bool, **options: object) -> None:
        files, problems = set(), []
        for folder in ("", "thumbs/"):
            with suppress(FileNotFoundError):
                files |= {folder + name for name in storage.listdir(folder)[1] if not name.startswith(".")}
        if not files and Picture.objects.exists():
            raise CommandError("There is not one file: is the storage mounted? Nothing was changed.")
        time.sleep(SETTLE_SECONDS)  # an upload stores its files a moment before it commits their row
        for picture in Picture.objects.all():
            files -= {picture.file.name, picture.thumbnail.name}
            if not storage.exists(picture.file.name):
                problems.append((f"{picture.file.name}: lost, of picture {picture.pk}", picture.delete))
            elif not storage.exists(picture.thumbnail.name):
                problems.append((f"{picture.thumbnail.name}: lost, can be made again", partial(self.remake, picture)))
        problems += [(f"{name}: of no picture", partial(self.remove, name)) for name in sorted(files)]
        for path in Path(settings.FILE_UPLOAD_TEMP_DIR).glob("*.upload*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - STALE_SECONDS:
                    problems.append((f"{path.name}: left by an upload that was interrupted", path.unlink))
        for line, mend in problems:
            self.stdout.write(line)
            if fix:
                mend()
        if problems and not fix:
            raise CommandError(f"Problems: {len(problems)}. --fix mends them.")
        self.stdout.write(f"Mended: {len(problems)}." if problems else "Nothing wrong.")

    def remove(self, name: str) -> None:
        """Delete a file, unless an upload under way has it: that has written its row, and commits it later."""
        field, other = ("thumbnail", "file") if name.startswith("thumbs/") else ("file", "thumbnail")
        facts = {"size": 0, "width": 0, "height": 0, field: name, other: ""}
        # The name is unique: this waits until who else has it is done, and fails if they keep it.
        with suppress(IntegrityError), transaction.atomic():
            Picture.objects.create(**facts)
            storage.delete(name)
            transaction.set_rollback(True)

    def remake(self, picture: Picture) -> None:
        with picture.file.open() as file, Image.open(file) as image:
            storage.save(picture.thumbnail.name, ContentFile(make_thumbnail(image)[0]))
