"""The app that takes in pictures and shows them."""

from contextlib import suppress

from django.apps import AppConfig

from upload.handlers import make_incoming


class UploadConfig(AppConfig):
    name = "upload"

    def ready(self) -> None:
        """Make the folder that uploads arrive in; where that fails, each upload tries again and says so."""
        with suppress(OSError):
            make_incoming()
