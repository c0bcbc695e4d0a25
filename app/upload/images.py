"""Decides whether a file is a picture that is safe to keep, and makes its thumbnail."""

import ctypes
import os
import re
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

from django.core.exceptions import ValidationError
from django.core.files import locks
from django.utils.translation import gettext as _
from PIL import Image, ImageOps, ImageSequence, PngImagePlugin

# Bytes of memory for each pixel while Pillow decodes it, measured; for JPEG it's for each colour.
COST = {"JPEG": 2.0, "PNG": 5.0, "GIF": 5.0, "WEBP": 17.0, "AVIF": 12.5}
# For one picture at a time, in a container of 512 MB with two workers.
ANIMATED_COST, MAX_MEMORY = 24.0, 320_000_000
MAX_PIXELS, MAX_ANIMATED_PIXELS, MAX_FRAMES, MAX_SCANS = 50_000_000, 250_000_000, 1_000, 40
PATIENCE_SECONDS, THUMBNAIL_SIZE, ORIENTATION = 12.0, 480, 0x0112
# Pillow refuses above the double of its limit, and only warns below.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# M_MMAP_THRESHOLD of glibc: what is large goes back to the system at once, not into the process's own store.
# Gunicorn reads 1 MiB at once, which has to be less: mapping that anew for each read took a sixth of an upload's time.
with suppress(AttributeError):
    ctypes.CDLL(None).mallopt(-3, 2_000_000)
# All compressed text of a PNG together may have 1 MB, not 64.
PngImagePlugin.MAX_TEXT_MEMORY = PngImagePlugin.MAX_TEXT_CHUNK

# What browsers, PHP and PDF readers look for in files that claim to be something else.
# Two patterns, each with one first letter: that is searched five times as fast.
HOSTILE = re.compile(rb"<(?:(?:script|html|body|iframe|\?php)[\s>/]|!doctype html)", re.IGNORECASE)
HOSTILE_PDF = re.compile(rb"%PDF-\d", re.IGNORECASE)
# Cameras pad JPEGs with zeros; phones put a second picture or a film behind the first.
JPEG_END = re.compile(rb"\xff\xd9(?:\0*|\xff\xd8\xff.*|.{4}ftyp.*)\Z", re.DOTALL)
JPEG_SCAN = re.compile(rb"\xff\xda\0[\x08-\x0e][\x01-\x04]")


def inspect(file: BinaryIO, expected: str, declared: str) -> dict[str, object]:
    """Decode every frame; return media type, upright width and height, and a thumbnail. Raises ValidationError."""
    with _one_at_a_time():
        try:
            return _inspect(file, expected, declared)
        except ValidationError as error:
            problem = error
        except Image.DecompressionBombError:
            problem = ValidationError(_("Too many pixels: 50 million at most, fewer in WebP, AVIF."), "too_many_pixels")
        except Exception:  # Pillow raises nearly every exception there is on files that are made to break it.
            problem = ValidationError(_("This is no picture of a known type, or a damaged one."), "not_a_picture")
    raise problem.with_traceback(None)  # which would keep the pixels in memory, past the lock


def _inspect(file: BinaryIO, expected: str, declared: str) -> dict[str, object]:
    data = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    with Image.open(file, formats=[*COST]) as image:
        found = "JPEG" if image.format == "MPO" else str(image.format)
        declared = declared.replace("/jpg", "/jpeg").replace("/apng", "/png")
        fits = declared in ("", "application/octet-stream", Image.MIME[found])
        if found != expected or not fits:
            raise ValidationError(_("This is %(found)s, sent as something else."), "type_mismatch", {"found": found})
        if found == "JPEG" and len(JPEG_SCAN.findall(data)) > MAX_SCANS:
            raise ValueError("encoders make about ten scans; as many as fit would take hours")
        facts = _decode(image, found)
        hostile = HOSTILE.search(data) or HOSTILE_PDF.search(data)
        if not _is_whole(file, data, found) or hostile or zipfile.is_zipfile(file):
            raise ValidationError(_("The file is damaged, or holds more than a picture."), "not_only_picture")
        return facts


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait for the other threads and processes of this container: two large pictures would not fit into it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with Path(tempfile.gettempdir(), f"django-upload-{os.getuid()}.lock").open("ab") as lock:
        while not locks.lock(lock, locks.LOCK_EX | locks.LOCK_NB):
            if time.monotonic() > deadline:
                raise ValidationError(_("Many pictures are arriving. Try again in a few seconds."), "busy")
            time.sleep(0.01)
        yield


def _is_whole(file: BinaryIO, data: memoryview, found: str) -> bool:
    if found == "JPEG":
        return bool(JPEG_END.search(data)) or data[-4:] == b"SEFT"
    if found == "GIF":
        return file.tell() == len(data) and data[-1] == 0x3B  # Pillow has read up to the end mark
    if found == "WEBP":
        return len(data) == 8 + int.from_bytes(data[4:8], "little")
    if found == "PNG":
        return _is_whole_png(data)
    return True  # an AVIF has no end mark, and libavif has looked whether all of it is there


def _is_whole_png(data: memoryview) -> bool:
    # Compares the checksums, as load() does not for the pixels. Pillow's verify() would, and takes memory for two
    # copies of the largest chunk, which may be nearly the whole file.
    start, kind = 8, b""
    while kind != b"IEND" and start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4])
        kind = bytes(data[start + 4 : start + 8])
        if zlib.crc32(data[start + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return False
        start = end + 4
    return kind == b"IEND" and start == len(data)


def _decode(image: Image.Image, found: str) -> dict[str, object]:
    (width, height), pixels = image.size, image.width * image.height
    cost = COST[found] * (len(image.getbands()) if found == "JPEG" else 1)
    if pixels * cost > MAX_MEMORY or pixels > MAX_PIXELS or max(width, height) > 65_535:
        raise Image.DecompressionBombError
    thumbnail, lies = make_thumbnail(image)
    total = 0
    for index, frame in enumerate(ImageSequence.Iterator(image)):
        pixels = frame.width * frame.height  # a GIF's later frames can be larger than the first
        total += pixels
        if index and (index >= MAX_FRAMES or total > MAX_ANIMATED_PIXELS or pixels * ANIMATED_COST > MAX_MEMORY):
            raise ValidationError(_("The animation has too many frames for its size."), "too_many_frames")
        frame.load()
        if found == "JPEG":  # a second picture behind it, for depth or in 3D, is not an animation
            break
    width, height = (height, width) if lies else (width, height)
    return {"type": Image.MIME[found], "width": width, "height": height, "thumbnail": thumbnail}


def make_thumbnail(image: Image.Image) -> tuple[bytes, bool]:
    """Return a small upright WebP without metadata, and whether the picture lies on its side in the file."""
    orientation = 1
    with suppress(Exception):  # damaged metadata is no reason to refuse a good picture
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
