# ruff: noqa: PT009 (these run under Django's own test runner as well)
"""A thousand files made from good ones by a seeded generator: each is kept or refused, and never more than that."""

import random

from django.test import TestCase

from upload.models import Picture
from upload.tests.base import MediaMixin
from upload.tests.pictures import TYPES, picture

FILES = 1000
SEED = 20260101


def good_files() -> list[tuple[str, bytes]]:
    files = [(extension, picture(extension, (48, 32))) for extension in TYPES]
    files += [(extension, picture(extension, (32, 32), frames=3)) for extension in ("gif", "png", "webp", "avif")]
    files += [("jpg", picture(size=(48, 32), progressive=True)), ("png", picture("png", (300, 200)))]
    return files


def spoil(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Return the file with one to four kinds of damage."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(data) or 1)
        length = chance.choice((1, 2, 4, 16, 200))
        match chance.randrange(8):
            case 0:
                data[start : start + 1] = bytes([chance.randrange(256)])
            case 1:
                data[start : start + length] = chance.randbytes(length)
            case 2:
                del data[start : start + length]
            case 3:
                data[start:start] = data[start : start + length] * chance.choice((1, 2, 100))
            case 4:
                data[start:start] = other[start : start + length]
            case 5:
                data[start : start + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1")
                )
            case 6:
                del data[start:]
            case 7:
                # Sizes stand near the beginning.
                data[chance.randrange(60) % (len(data) or 1) :][:1] = b"\xff"
                place = chance.randrange(min(60, len(data) or 1))
                data[place : place + 1] = bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF))])
    return bytes(data)


class FuzzTests(MediaMixin, TestCase):
    def test_a_thousand_spoilt_files(self) -> None:
        chance = random.Random(SEED)
        good = good_files()
        kept = 0
        for number in range(FILES):
            extension, content = chance.choice(good)
            spoilt = spoil(content, chance.choice(good)[1], chance)
            response = self.send(spoilt, f"{number}.{extension}")
            self.assertIn(response.status_code, (201, 400, 415), (number, extension, response.content[:300]))
            kept += response.status_code == 201
        self.assertEqual(Picture.objects.count(), kept)
        expected = {name for row in Picture.objects.all() for name in (row.file.name, row.thumbnail.name)}
        self.assertEqual(set(self.files()), expected)
        # Some damage leaves a good picture; if all passed, or none, this would test nothing.
        self.assertTrue(10 < kept < FILES // 2, kept)
