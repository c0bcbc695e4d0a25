"""Checks one uploaded file and keeps it."""

import hashlib

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _

from upload.images import inspect
from upload.models import Picture
from upload.names import EXTENSIONS, check_name


class UploadForm(forms.Form):
    """One picture, received by PictureUploadHandler."""

    image_file = forms.FileField()

    def clean_image_file(self) -> UploadedFile:
        """Check the size, then the name, then what is in the file."""
        upload = self.cleaned_data["image_file"]
        if upload.size > settings.MAX_UPLOAD_MB * 2**20:
            message = _("The file is too large: at most %(limit)d MB.")
            raise ValidationError(message, "too_large", {"limit": settings.MAX_UPLOAD_MB})
        name = check_name(upload.sent_name)
        expected = EXTENSIONS[name.rpartition(".")[2].lower()]
        self.facts, self.thumbnail = inspect(upload.file, expected, upload.content_type.lower())
        upload.seek(0)
        self.facts |= {"name": name, "size": upload.size}
        self.facts["sha256"] = hashlib.file_digest(upload.file, "sha256").hexdigest()
        return upload

    def save(self) -> Picture:
        """Keep the file, and return its row. Raises OSError and DatabaseError, and then nothing is left."""
        return Picture.objects.keep(self.cleaned_data["image_file"], self.thumbnail, **self.facts)
