"""Receives uploads straight to disk, so that memory stays flat whatever their size."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http.multipartparser import MultiPartParser


class FolderUploadHandler(TemporaryFileUploadHandler):
    """Django's own, which finds FILE_UPLOAD_TEMP_DIR there: for every form but the upload page's."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        Path(settings.FILE_UPLOAD_TEMP_DIR).mkdir(parents=True, exist_ok=True)
        super().new_file(*args, **kwargs)


class PictureUploadHandler(FolderUploadHandler):
    """Like its parent, but each file has its name as it was sent in `sent_name`, and none is kept beyond the limit."""

    # Gunicorn copies what it has read ahead at each read: 100 MB took 1.2 times as long in Django's pieces of 64 KB.
    chunk_size = 2**18

    def handle_raw_input(self, input_data: Any, META: dict, *args: Any, **kwargs: Any) -> tuple:
        """Parse without Django's mending of names, which would hide bad ones and take emoji apart."""
        self.handle_raw_input = lambda *args, **kwargs: None  # which the parser calls in its turn
        parser = MultiPartParser(META, input_data, [self], self.request.encoding)
        parser.sanitize_file_name = str
        return parser.parse()

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, "picture", *args, **kwargs)
        self.file.sent_name = file_name

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) <= settings.MAX_UPLOAD_MB * 2**20:
            self.file.write(raw_data)
        else:  # counted on, so that the form can tell
            self.file.truncate(0)
