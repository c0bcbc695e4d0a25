"""Which file names are kept, exactly as they are, and which are refused."""

import re
import unicodedata

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

EXTENSIONS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "avif": "AVIF"}
# A file system takes 255 bytes; the thumbnail's ".webp" and what makes a name unique need some of them.
MAX_BYTES = 230
PATH = re.compile(r"[/\\]|%(00|2e|2f|5c)", re.IGNORECASE)
# Devices of Windows, where somebody will unpack a backup one day.
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")
# Some servers run "cat.php.png".
ACTIVE = re.compile(
    r"aspx?|bat|cgi|cmd|com|exe|hta|jar|jspx?|m?js|pdf|phar|php\d?|[ps]?html?|pl|ps1|py|rb|sh|svgz?|swf|vbs|xht|xml|zip"
)
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
# Joiners and tags make one emoji of several characters; the others of category Cf are tricks that nobody sees.
EMOJI = {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}


def check_name(sent: str) -> str:
    """Return the name in Unicode's composed form. Raises ValidationError where it isn't safe to keep."""
    name = unicodedata.normalize("NFC", sent)
    stem, *inner, extension = (part.strip() for part in name.lower().split(".")) if "." in name else (name, "")
    hidden = any(unicodedata.category(c) in HIDDEN and c not in EMOJI for c in name) or "\ufffd" in name
    if hidden or PATH.search(name) or not stem or name != name.strip(" .") or RESERVED.fullmatch(stem):
        raise ValidationError(_("This file name is not safe everywhere. Rename the file."), "bad_name")
    if len(name.encode()) > MAX_BYTES:
        raise ValidationError(_("The file name is too long. Rename the file."), "bad_name")
    if extension not in EXTENSIONS:
        raise ValidationError(_("Only JPEG, PNG, GIF, WebP and AVIF pictures are taken."), "unsupported_type")
    if any(part in EXTENSIONS or ACTIVE.fullmatch(part) for part in inner):
        raise ValidationError(_("The file name has two extensions. Rename the file."), "bad_name")
    return name
