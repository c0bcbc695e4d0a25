# ruff: noqa: PT009 (these run under Django's own test runner as well)
"""Bad input: each gets a clear answer, and leaves nothing behind."""

import struct
import zipfile
import zlib
from io import BytesIO

from django.test import TestCase, override_settings

from upload.models import Picture
from upload.tests.base import MediaMixin
from upload.tests.pictures import TYPES, draw, gif, multipart, picture, png


def zipped() -> bytes:
    output = BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("run.js", "alert(1)")
    return output.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><html><script>alert(1)</script></html>"
PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>"
PHP = b"<?php system($_GET['c']); ?>"


class ContentTests(MediaMixin, TestCase):
    def test_empty(self) -> None:
        for name in ("empty.jpg", "empty.png"):
            self.assert_refused(self.send(b"", name), "empty")

    def test_truncated_at_many_places(self) -> None:
        for extension in TYPES:
            content = picture(extension)
            places = {
                *range(1, 40),
                *range(40, len(content), max(1, len(content) // 40)),
                *range(len(content) - 30, len(content)),
            }
            for place in sorted(places):
                with self.subTest(extension, place=place):
                    response = self.send(content[:place], f"cut.{extension}")
                    self.assertIn(response.status_code, (400, 415), response.content)
        self.assert_nothing_left()

    def test_animations_cut_short(self) -> None:
        for extension in ("gif", "png", "webp", "avif"):
            content = picture(extension, frames=3)
            for cut in (1, 2, 20, len(content) // 3):
                self.assertIn(self.send(content[:-cut], f"cut.{extension}").status_code, (400, 415), (extension, cut))
        self.assert_nothing_left()

    def test_something_else_under_a_picture_name(self) -> None:
        for content in (
            HTML,
            SVG,
            PDF,
            zipped(),
            PHP,
            b"#!/bin/sh\nreboot\n",
            b"GIF89a=alert(1)//",
            bytes(500),
            b"BM" + bytes(60),
        ):
            for extension in TYPES:
                self.assert_refused(self.send(content, f"fake.{extension}"), "not_a_picture", 415)

    def test_picture_and_something_else_in_one_file(self) -> None:
        for extension in TYPES:
            for extra in (HTML, PDF, zipped(), PHP, b"\n<script>alert(1)</script>"):
                with self.subTest(extension, extra=extra[:10]):
                    self.assert_refused(self.send(picture(extension) + extra, f"both.{extension}"), "not_only_picture")

    def test_data_after_the_end(self) -> None:
        for extension in ("jpg", "png", "gif", "webp"):
            for extra in (b"x", b"*/=1;alert(1);", bytes(9) + b"x"):
                self.assert_refused(self.send(picture(extension) + extra, f"more.{extension}"), "not_only_picture")

    def test_code_inside_of_the_picture(self) -> None:
        self.assert_refused(self.send(picture(comment=PHP)), "not_only_picture")
        self.assert_refused(self.send(png((b"tEXt", b"Comment\0" + HTML)), "a.png"), "not_only_picture")
        self.assert_refused(
            self.send(picture("gif", comment=b"<script>alert(1)</script>"), "a.gif"), "not_only_picture"
        )

    def test_content_name_and_type_must_agree(self) -> None:
        for extension in TYPES:
            other = "png" if extension != "png" else "gif"
            self.assert_refused(self.send(picture(extension), f"a.{other}"), "type_mismatch", 415)
            self.assert_refused(self.send(picture(extension), f"a.{extension}", TYPES[other]), "type_mismatch", 415)
            self.assert_refused(self.send(picture(extension), f"a.{extension}", "text/html"), "type_mismatch", 415)

    def test_pictures_of_formats_that_are_not_taken(self) -> None:
        for name in ("BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "JPEG2000"):
            output = BytesIO()
            draw((16, 16)).save(output, name)
            self.assert_refused(self.send(output.getvalue(), "a.png"), "not_a_picture", 415)
            self.assert_refused(self.send(output.getvalue(), f"a.{name.lower()}"), "not_a_picture", 415)

    def test_a_png_with_a_wrong_checksum(self) -> None:
        content = bytearray(picture("png"))
        content[content.index(b"IDAT") - 4 + 8 + 20] ^= 1
        self.assertIn(self.send(bytes(content), "a.png").status_code, (400, 415))
        self.assert_nothing_left()


class LimitTests(MediaMixin, TestCase):
    def test_size(self) -> None:
        base = picture()
        exact = base + bytes(2**20 - len(base))
        with override_settings(MAX_UPLOAD_MB=1):
            self.assert_refused(self.send(exact + b"\0"), "too_large", 413)
            self.assert_refused(self.send(exact * 3), "too_large", 413)
            page = self.send(exact + b"\0", accept="text/html")
            self.assertContains(page, "Too large: at most 1 MB", status_code=413)

    def test_size_at_the_limit(self) -> None:
        with override_settings(MAX_UPLOAD_MB=1):
            room = 2**20 - len(png()) - 12
            self.assertEqual(self.send(png((b"tESt", bytes(room))), "full.png").status_code, 201)

    def test_pixels(self) -> None:
        for width, height in ((60_000, 60_000), (10_000, 5_001), (2**31 - 1, 1), (70_000, 2)):
            response = self.send(png(width=width, height=height), "huge.png")
            self.assert_refused(response, "too_many_pixels")

    def test_a_jpeg_and_a_gif_that_claim_to_be_huge(self) -> None:
        content = bytearray(picture())
        start = content.index(b"\xff\xc0")
        content[start + 5 : start + 9] = struct.pack(">HH", 65_000, 65_000)
        self.assert_refused(self.send(bytes(content)), "too_many_pixels")
        self.assert_refused(
            self.send(gif(1)[:6] + struct.pack("<HH", 65_000, 65_000) + gif(1)[10:], "a.gif"), "too_many_pixels"
        )

    def test_a_gif_frame_beyond_the_canvas(self) -> None:
        content = bytearray(picture("gif", frames=2))
        start = content.index(b",", 13 + 3 * 256)
        content[start + 5 : start + 9] = struct.pack("<HH", 65_000, 65_000)
        self.assertIn(self.send(bytes(content), "a.gif").status_code, (400, 415))
        self.assert_nothing_left()
        # Within what Pillow takes, but not within the memory: only the second frame is large.
        content = bytearray(picture("gif", frames=2))
        start = content.rindex(b"\x21\xf9\x04") + 8
        content[start + 5 : start + 9] = struct.pack("<HH", 7_000, 7_000)
        self.assert_refused(self.send(bytes(content), "a.gif"), "too_many_frames")

    def test_compressed_text(self) -> None:
        bomb = zlib.compress(bytes(100_000_000))
        for kind, data in ((b"zTXt", b"Comment\0\0" + bomb), (b"iTXt", b"Comment\0\x01\0\0\0" + bomb)):
            self.assert_refused(self.send(png((kind, data)), "text.png"), "not_a_picture", 415)
        half = zlib.compress(bytes(700_000))
        many = [(b"zTXt", b"Comment\0\0" + half)] * 40
        self.assert_refused(self.send(png(*many), "text.png"), "not_a_picture", 415)

    def test_a_compressed_profile_is_not_kept_in_memory(self) -> None:
        profile = b"icc\0\0" + zlib.compress(bytes(100_000_000))
        self.assertIn(self.send(png((b"iCCP", profile)), "profile.png").status_code, (201, 400, 415))

    def test_thousands_of_frames(self) -> None:
        self.assertEqual(self.send(gif(1000), "many.gif").status_code, 201)
        Picture.objects.all().delete()
        for path in self.files():
            (self.media / path).unlink()
        self.assert_refused(self.send(gif(1001), "many.gif"), "too_many_frames")
        self.assert_refused(self.send(gif(40_000), "many.gif"), "too_many_frames")

    def test_frames_times_pixels(self) -> None:
        content = bytearray(gif(200))
        content[6:10] = struct.pack("<HH", 3000, 3000)
        self.assert_refused(self.send(bytes(content), "large.gif"), "too_many_frames")

    def test_a_jpeg_of_a_thousand_scans(self) -> None:
        content = picture(progressive=True, size=(400, 400))
        scan = content.rindex(b"\xff\xda")
        self.assertIn(self.send(content[:-2] + content[scan:-2] * 1000 + b"\xff\xd9").status_code, (400, 415))
        self.assert_nothing_left()

    def test_blocks_of_one_byte_in_a_gif(self) -> None:
        head = gif(1)[:-1]
        comment = b"\x21\xfe" + b"\x01x" * 300_000 + b"\0"
        self.assertIn(self.send(head + comment + b";", "slow.gif").status_code, (201, 400, 415))


class NameTests(MediaMixin, TestCase):
    def test_names_that_are_kept(self) -> None:
        for name in (
            "cat.jpg",
            "DOG.JPG",
            "猫 在 屋顶.jpeg",
            "holiday 2024.05.01.jpg",
            "👨‍👩‍👧 family 🏴󠁧󠁢󠁥󠁮󠁧󠁿.png",
            "it's 50% off? #1 & more; <b>.png",
            "Ärger—ß.png",
            "-rf.png",
            "über.cat.photo.png",
            "%41.png",
            "می‌خواهم.png",
        ):
            extension = name.rpartition(".")[2].lower().replace("jpeg", "jpg")
            facts = self.send(picture(extension), name).json()
            self.assertEqual(facts.get("name"), name, facts)
            self.assertTrue((self.media / name).exists(), name)
            self.assertTrue((self.media / f"thumbs/{name}.webp").exists(), name)

    def test_two_spellings_of_one_name(self) -> None:
        facts = self.send(name="Cafe\u0301.jpg").json()
        self.assertEqual(facts["name"], "Caf\u00e9.jpg")

    def test_extensions_that_are_no_pictures(self) -> None:
        for name in (
            "a.html",
            "a.svg",
            "a.php",
            "a.js",
            "a.exe",
            "a.pdf",
            "a.zip",
            "a.bmp",
            "a",
            "jpg",
            ".jpg",
            "a.jpg.exe",
            "a.png.php",
        ):
            response = self.send(name=name, media_type="image/jpeg")
            self.assertIn(response.json()["error"]["code"], ("not_a_picture", "bad_name"), name)
            self.assertIn(response.status_code, (400, 415))
        self.assert_nothing_left()

    def test_names_that_are_not_safe(self) -> None:
        for name in (
            "a.php.jpg",
            "a.PHP5.jpg",
            "a.html.jpg",
            "a.svg.jpg",
            "a.js .jpg",
            "a.png.jpg",
            "a.jpg.",
            "a.jpg ",
            " a.jpg",
            "..jpg",
            "...jpg",
            ".htaccess.jpg",
            "a.jpg\0",
            "a\0.jpg",
            "a.php\0.jpg",
            "a.php%00.jpg",
            "a\x07.jpg",
            "../a.jpg",
            "../../../../etc/a.jpg",
            "/etc/a.jpg",
            "dir/a.jpg",
            "..\\..\\a.jpg",
            "C:\\Windows\\a.jpg",
            "..%2f..%2fa.jpg",
            "a/",
            "con.jpg",
            "NUL.jpg",
            "com1.jpg",
            "aux.2024.jpg",
            "gpj.\u202eexe.jpg",
            "a\u202egpj.jpg",
            "a\u200fb.jpg",
            "a\u2066b.jpg",
            "a\u200bb.jpg",
            "\ufeffa.jpg",
            "a\ufffd.jpg",
            "a\u2028b.jpg",
            "x" * 300 + ".jpg",
            "图" * 100 + ".jpg",
            "x" * 227 + ".jpg",
        ):
            with self.subTest(name):
                response = self.send(name=name, media_type="image/jpeg")
                self.assertEqual(response.status_code, 400, response.content)
                self.assertEqual(response.json()["error"]["code"], "bad_name")
        self.assert_nothing_left()

    def test_the_longest_name(self) -> None:
        for name in ("x" * 226 + ".jpg", "图" * 75 + ".jpg"):
            self.assertEqual(self.send(name=name).status_code, 201)
            self.assertEqual(self.send(name=name).status_code, 201, "made unique")

    def test_names_that_python_cannot_decode(self) -> None:
        body, content_type = multipart(("image_file", "AAAA.jpg", picture(), "image/jpeg"))
        headers = {"accept": "application/json"}
        response = self.client.post(
            "/", body.replace(b"AAAA", b"\xff\xfe\x80"), content_type=content_type, headers=headers
        )
        # Django skips parts whose header is not text.
        self.assert_refused(response, "no_file")

    def test_a_refused_name_in_html(self) -> None:
        response = self.send(name="../\u202e<b>.jpg", accept="text/html")
        self.assertContains(response, "&lt;b&gt;", status_code=400)


class RequestTests(MediaMixin, TestCase):
    headers = {"accept": "application/json"}

    def test_no_file(self) -> None:
        for parts in (
            [],
            [("image_file", None, b"text", "")],
            [("other", None, b"text", "")],
            [("image_file", "", b"", "image/jpeg")],
        ):
            self.assert_refused(self.send_parts(*parts), "no_file")
        self.assert_refused(self.client.post("/", {}, headers=self.headers), "no_file")
        self.assert_refused(
            self.client.post("/", b"{}", content_type="application/json", headers=self.headers), "no_file"
        )
        self.assertContains(self.send_parts(accept="text/html"), "Choose a picture", status_code=400)

    def test_wrong_field(self) -> None:
        part = ("a.jpg", picture(), "image/jpeg")
        self.assert_refused(self.send_parts(("file", *part)), "no_file")
        self.assert_refused(self.send_parts(("image_file", *part), ("other", *part)), "several_files")

    def test_several_files_for_programs(self) -> None:
        part = ("image_file", "a.jpg", picture(), "image/jpeg")
        self.assert_refused(self.send_parts(part, part), "several_files")

    def test_too_many_files_and_fields(self) -> None:
        part = ("image_file", "a.jpg", b"x", "image/jpeg")
        self.assert_refused(self.send_parts(*[part] * 101), "bad_request")
        self.assert_refused(self.send_parts(*[("x", None, b"x", "")] * 1001), "bad_request")
        self.assert_refused(self.send_parts(("x", None, b"x" * 3_000_000, "")), "bad_request")

    def test_broken_multipart(self) -> None:
        body, content_type = multipart(("image_file", "a.jpg", picture(), "image/jpeg"))
        broken = [
            (body, "multipart/form-data"),
            (body, "multipart/form-data; boundary="),
            (body, "multipart/form-data; boundary=other"),
            (body, "multipart/form-data; boundary=fröntier"),
            (body[: len(body) // 2], content_type),
            (body[:-20], content_type),
            (body.replace(b"\r\n", b"\n"), content_type),
            (body.replace(b"Content-Disposition", b"Content-Nothing"), content_type),
            (body.replace(b"image/jpeg\r\n", b"image/jpeg\r\nContent-Transfer-Encoding: base64\r\n"), content_type),
            (b"", content_type),
            (b"--frontier", content_type),
            (b"\r\n" * 50_000, content_type),
        ]
        for data, kind in broken:
            with self.subTest(kind, data=data[:30]):
                response = self.client.generic("POST", "/", data, kind, headers=self.headers)
                self.assertIn(response.status_code, (400, 403, 415), response.content)
                self.assertIn("error", response.json())
        self.assert_nothing_left()

    def test_a_client_that_goes_away(self) -> None:
        body, content_type = multipart(("image_file", "a.jpg", picture("jpg", (900, 900)), "image/jpeg"))

        class Gone(BytesIO):
            def read(self, size: int = -1) -> bytes:
                if self.tell() > 3000:
                    raise ConnectionResetError
                return super().read(min(size, 2000))

        with self.assertNoLogs(level="ERROR"):
            extra = {"wsgi.input": Gone(body), "CONTENT_LENGTH": str(len(body))}
            response = self.client.generic("POST", "/", b"", content_type, headers=self.headers, **extra)
        self.assertIn(response.status_code, (400, 403))
        self.assert_nothing_left()

    def test_a_body_shorter_than_announced(self) -> None:
        body, content_type = multipart(("image_file", "a.jpg", picture("jpg", (900, 900)), "image/jpeg"))
        extra = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body[:5000])}
        response = self.client.generic("POST", "/", b"", content_type, headers=self.headers, **extra)
        self.assert_refused(response, "no_file")
