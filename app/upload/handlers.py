"""Receives uploads straight to disk, so that memory stays flat whatever their size."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler
from django.http.multipartparser import MultiPartParser


def make_incoming() -> None:
    """Make the folder that uploads arrive in. Raises OSError."""
    if settings.FILE_UPLOAD_TEMP_DIR:
        Path(settings.FILE_UPLOAD_TEMP_DIR).mkdir(parents=True, exist_ok=True)


class PictureUploadHandler(TemporaryFileUploadHandler):
    """Like its parent, but each file has its name as it was sent in `sent_name`, and none is kept beyond the limit."""

    parser: MultiPartParser | None = None

    def handle_raw_input(self, input_data: Any, META: dict, *args: Any, **kwargs: Any) -> tuple | None:
        """Parse without Django's mending of names, which would hide bad ones and take emoji apart."""
        if self.parser:  # it asks as well
            return None
        self.parser = MultiPartParser(META, input_data, [self], self.request.encoding)
        self.parser.sanitize_file_name = str
        return self.parser.parse()

    def new_file(self, field_name: str, file_name: str, content_type: str, *args: Any, **kwargs: Any) -> None:
        """Begin a file. Raises OSError."""
        FileUploadHandler.new_file(self, field_name, file_name, content_type, *args, **kwargs)
        make_incoming()
        self.file = TemporaryUploadedFile("picture", content_type, 0, None)
        self.file.sent_name = file_name

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep a chunk, or only count it once the file is too large. Raises OSError."""
        if start + len(raw_data) <= settings.MAX_UPLOAD_MB * 2**20:
            self.file.write(raw_data)
        else:
            self.file.truncate(0)
