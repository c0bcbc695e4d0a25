"""Checks one uploaded file."""

import hashlib
import re
import unicodedata

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _

from upload.images import inspect

FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "avif": "AVIF"}
# A file system takes 255 bytes; the thumbnail's ".webp" and what makes a name unique need some of them.
MAX_NAME_BYTES = 230
# Paths, and the devices of Windows, where somebody will unpack a backup one day.
UNSAFE = re.compile(r".*([/\\]|%(00|2e|2f|5c)).*|(con|prn|aux|nul|com\d|lpt\d) *\..*|[ .].*|.*[ .]", re.I | re.S)
# Some servers run "cat.php.png".
ACTIVE = re.compile(r"aspx?|bat|cgi|cmd|com|exe|jar|js|jspx?|pdf|phar|php\d?|[psx]?html?|pl|py|rb|sh|svgz?|zip")
# Joiners and tags make one emoji of several characters; others of their category are tricks that nobody sees.
HIDDEN, EMOJI = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"), {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}


def check_name(sent: str) -> tuple[str, str]:
    """Return the name in Unicode's composed form, and the format that it says. Raises ValidationError."""
    name = unicodedata.normalize("NFC", sent)
    *stem, extension = (part.strip() for part in name.lower().split("."))
    hidden = any(unicodedata.category(c) in HIDDEN and c not in EMOJI for c in name) or "\ufffd" in name
    if hidden or UNSAFE.fullmatch(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise ValidationError(_("This file name is too long, or not safe everywhere. Rename the file."), "bad_name")
    if extension not in FORMATS or not stem:
        raise ValidationError(_("Only JPEG, PNG, GIF, WebP and AVIF pictures are taken."), "not_a_picture")
    if any(part in FORMATS or ACTIVE.fullmatch(part) for part in stem[1:]):
        raise ValidationError(_("The file name has two extensions. Rename the file."), "bad_name")
    return name, FORMATS[extension]


class UploadForm(forms.Form):
    """One picture, received by PictureUploadHandler; what is found out about it is in `facts`."""

    image_file = forms.FileField()

    def clean_image_file(self) -> UploadedFile:
        upload = self.cleaned_data["image_file"]
        if upload.size > settings.MAX_UPLOAD_MB * 2**20:
            raise ValidationError(_("Too large: at most %(limit)d MB."), "too_large", {"limit": settings.MAX_UPLOAD_MB})
        name, expected = check_name(upload.sent_name)
        self.facts = inspect(upload.file, expected, upload.content_type.lower())
        upload.seek(0)
        digest = hashlib.file_digest(upload.file, "sha256").hexdigest()
        self.facts |= {"name": name, "size": upload.size, "sha256": digest}
        return upload
