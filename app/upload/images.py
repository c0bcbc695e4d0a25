"""Decides whether a file is a picture that is safe to keep, and makes its thumbnail."""

import os
import re
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import unpack_from
from typing import Any, BinaryIO

from django.core.exceptions import ValidationError
from django.core.files import locks
from django.utils.translation import gettext as _
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

# Bytes of memory for each pixel while Pillow decodes it, measured; JPEG's is in _read_jpeg.
COST = {"JPEG": 0.0, "PNG": 5.0, "GIF": 5.0, "WEBP": 17.0, "AVIF": 12.5}
ANIMATED_COST = 24.0
# For one large picture at a time, in a container of 512 MB with two workers.
MAX_MEMORY = 320_000_000
MAX_PIXELS = 50_000_000
MAX_FRAMES, MAX_ANIMATED_PIXELS = 1_000, 250_000_000
# Each scan of a progressive JPEG goes over the whole picture; encoders make about ten.
MAX_SCANS = 40
PATIENCE_SECONDS = 12.0
THUMBNAIL_SIZE = 480
ORIENTATION = 0x0112
# Pillow refuses above the double of its limit, and only warns below.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# All compressed text of a PNG together may have 1 MB, not 64.
PngImagePlugin.MAX_TEXT_MEMORY = PngImagePlugin.MAX_TEXT_CHUNK

# What browsers, PHP and PDF readers look for in files that claim to be something else.
HOSTILE = re.compile(rb"<(?:script|html|body|iframe|\?php)[\s>/]|<!doctype html|\A(?s:.{0,1024})%PDF-", re.IGNORECASE)
MARKER, SCAN_END = re.compile(rb"\xff+([\x01-\xfe])"), re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
BOXES = (b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"mini")
ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/apng": "image/png"}


def inspect(file: BinaryIO, expected: str, declared: str) -> tuple[dict[str, Any], bytes]:
    """Decode every frame; return the upright picture's width, height and media type, and a thumbnail.

    `expected` is the format that the name says, `declared` the media type that the file was sent with. Raises
    ValidationError, with the code "busy" where too many large pictures are being decoded already.
    """
    try:
        with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped, memoryview(mapped) as data:
            end, cost = _read_jpeg(data) if data[:2] == b"\xff\xd8" else (0, None)
            # A JPEG of one scan is decoded small: it takes no memory worth waiting for.
            with nullcontext() if cost == 0 else _one_at_a_time(), Image.open(file, formats=[*COST]) as image:
                found = "JPEG" if image.format == "MPO" else str(image.format)
                _check_type(found, expected, declared)
                facts, thumbnail = _decode(image, found, COST[found] if cost is None else cost)
                end = end or _find_end(file, data, found)
            if end > len(data):
                raise ValueError("truncated")
            if _has_more(data[end:], found) or HOSTILE.search(data) or zipfile.is_zipfile(file):
                raise ValidationError(_("There is more in this file than a picture."), "not_only_picture")
            return facts, thumbnail
    except ValidationError:
        raise
    except UnidentifiedImageError as error:
        raise ValidationError(
            _("Only JPEG, PNG, GIF, WebP and AVIF pictures are taken."), "unsupported_type"
        ) from error
    except Image.DecompressionBombError as error:
        message = _("The picture has too many pixels. 50 million are the most, and less for WebP, AVIF and animations.")
        raise ValidationError(message, "too_many_pixels") from error
    except Exception as error:  # Pillow raises nearly every exception there is on files that are made to break it.
        raise ValidationError(_("The picture is damaged or incomplete."), "damaged") from error


def _check_type(found: str, expected: str, declared: str) -> None:
    # application/octet-stream is what programs send when they don't know.
    fits = ALIASES.get(declared, declared) in ("", "application/octet-stream", Image.MIME[found])
    if found != expected or not fits:
        message = _("This is a %(found)s picture, but it was sent as %(sent)s.")
        sent = expected if found != expected else declared[:40]
        raise ValidationError(message, "type_mismatch", {"found": found, "sent": sent})


def _read_jpeg(data: memoryview) -> tuple[int, float]:
    """Return where the picture ends, and its cost: several scans are put together in memory, one isn't."""
    position, scans, components = 0, 0, 0
    while (marker := MARKER.match(data, position)) and scans <= MAX_SCANS:
        position, code = marker.end(), marker[1][0]
        if code == 0xD9:
            return position, 2.0 * components if scans > 1 else 0.0
        if code == 0x01 or 0xD0 <= code <= 0xD8:
            continue
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            components = data[position + 7]
        position += unpack_from(">H", data, position)[0]
        if code == 0xDA:
            scans += 1
            end = SCAN_END.search(data, position)
            position = end.start() if end else len(data)
    raise ValueError("no end, or too many scans")


def _find_end(file: BinaryIO, data: memoryview, found: str) -> int:
    """Return where the picture ends that has just been decoded from the file."""
    position = 0
    if found == "GIF":
        # Pillow has read up to the end mark, or to the end of the file.
        return file.tell() + (data[file.tell() - 1] != 0x3B)
    if found == "WEBP":
        return 8 + (unpack_from("<I", data, 4)[0] + 1) // 2 * 2
    if found == "PNG":
        with Image.open(file, formats=["PNG"]) as image:
            # Compares the checksums, which load() does not do for the pixels; then comes the last chunk's own.
            image.verify()
            return file.tell() + 4
    while data[position + 4 : position + 8] in BOXES:
        size = unpack_from(">I", data, position)[0] or len(data)
        position += max(8, unpack_from(">Q", data, position + 8)[0] if size == 1 else size)
    return position


def _has_more(rest: memoryview, found: str) -> bool:
    # Cameras pad with zeros; phones put a second JPEG, a film or notes (Samsung) behind the first.
    phone = found == "JPEG" and (rest[:3] == b"\xff\xd8\xff" or rest[4:8] == b"ftyp" or rest[-4:] == b"SEFT")
    return not phone and (len(rest) > 65_536 or any(rest))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait for the other threads and processes of this container: two large pictures would not fit into it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with Path(tempfile.gettempdir(), f"django-upload-{os.getuid()}.lock").open("ab") as lock:
        while not locks.lock(lock, locks.LOCK_EX | locks.LOCK_NB):
            if time.monotonic() > deadline:
                raise ValidationError(_("Many large pictures are arriving. Try again in a few seconds."), "busy")
            time.sleep(0.02)
        yield


def _decode(image: Image.Image, found: str, cost: float) -> tuple[dict[str, Any], bytes]:
    (width, height), pixels, frames = image.size, image.width * image.height, 1
    if pixels * cost > MAX_MEMORY or pixels > MAX_PIXELS or max(width, height) > 65_535:
        raise Image.DecompressionBombError
    thumbnail, lies = _make_thumbnail(image)
    while found != "JPEG":
        with suppress(EOFError):
            image.seek(frames)
        if image.tell() != frames:
            break
        frames += 1
        if frames > MAX_FRAMES or frames * pixels > MAX_ANIMATED_PIXELS or pixels * ANIMATED_COST > MAX_MEMORY:
            raise ValidationError(_("The animation has too many frames for its size."), "too_many_frames")
        image.load()
    width, height = (height, width) if lies else (width, height)
    return {"type": Image.MIME[found], "width": width, "height": height}, thumbnail


def _make_thumbnail(image: Image.Image) -> tuple[bytes, bool]:
    """Return a small upright WebP without metadata, and whether the picture lies on its side in the file."""
    orientation = 1
    with suppress(Exception):  # Damaged metadata is no reason to refuse a good picture.
        orientation = image.getexif().get(ORIENTATION, 1)
    scale = min(1, THUMBNAIL_SIZE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image.draft(None, size)
    image.load()
    mode = "RGBA" if image.has_transparency_data else "RGB"
    factor = max(1, min(image.width // size[0], image.height // size[1]) // 2)
    small = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    # Strip by strip: a large picture's conversion would take twice its memory once more.
    rows = factor * max(1, 1_000_000 // (image.width * factor))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if strip.mode.startswith("I"):  # grey of 16 bits
            strip = strip.convert("I").point(lambda grey: grey / 256).convert("L")
        small.paste(strip.convert(mode).reduce(factor), (0, top // factor))
    small = small.resize(size, Image.Resampling.LANCZOS)
    small.getexif()[ORIENTATION] = orientation
    output = BytesIO()
    ImageOps.exif_transpose(small).save(output, "WEBP", quality=78)
    return output.getvalue(), orientation in range(5, 9)
