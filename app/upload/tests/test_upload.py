# ruff: noqa: PT009 (these run under Django's own test runner as well)
"""What the page and the interface for programs do with good pictures."""

import hashlib
import re
from io import BytesIO

from django.contrib.auth import get_user_model
from django.test import Client, TestCase, override_settings
from PIL import Image

from upload.models import Picture
from upload.tests.base import MediaMixin
from upload.tests.pictures import TYPES, draw, multipart, picture


class KeepTests(MediaMixin, TestCase):
    def test_every_format_is_kept_byte_for_byte(self) -> None:
        for extension, media_type in TYPES.items():
            with self.subTest(extension):
                content = picture(extension)
                response = self.send(content, f"cat.{extension}")
                self.assertEqual(response.status_code, 201, response.content)
                facts = response.json()
                self.assertEqual((self.media / f"cat.{extension}").read_bytes(), content)
                self.assertEqual(facts["sha256"], hashlib.sha256(content).hexdigest())
                self.assertEqual((facts["width"], facts["height"]), (96, 64))
                self.assertEqual((facts["size"], facts["type"]), (len(content), media_type))
                self.assertEqual(facts["url"], f"/media/cat.{extension}")
                self.assertEqual(facts["thumbnail_url"], f"/media/thumbs/cat.{extension}.webp")
                self.assertEqual(self.client.get(facts["page_url"]).status_code, 200)
                self.assertRegex(facts["uploaded_at"], r"^\d{4}-\d\d-\d\dT[\d:.]+Z$")
        self.assertEqual(Picture.objects.count(), 5)

    def test_animations_are_kept(self) -> None:
        for extension in ("gif", "png", "webp", "avif"):
            with self.subTest(extension):
                self.assertEqual(self.send(picture(extension, frames=4), f"moving.{extension}").status_code, 201)

    def test_unusual_kinds_of_pixels(self) -> None:
        for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
            output = BytesIO()
            (Image.new("I;16", (40, 30), 40_000) if mode == "I;16" else draw((40, 30), mode)).save(output, "PNG")
            self.assertEqual(self.send(output.getvalue(), f"{mode.replace(';', '')}.png").status_code, 201, mode)
        with Image.open(self.media / "thumbs/I16.png.webp") as thumbnail:
            self.assertAlmostEqual(thumbnail.getpixel((20, 15))[0], 40_000 // 256, delta=3)
        for mode in ("L", "CMYK"):
            output = BytesIO()
            draw((40, 30), mode).save(output, "JPEG", progressive=mode == "L")
            self.assertEqual(self.send(output.getvalue(), f"{mode}.jpg").status_code, 201, mode)

    def test_what_phones_put_behind_a_picture(self) -> None:
        film = b"\0\0\0\x18ftypmp42" + bytes(range(256))
        for extra in (bytes(100), picture(size=(32, 32)), film, b"\0\0\x01\x0aImage_UTC_Data\0SEFH\0SEFT"):
            content = picture() + extra
            self.assertEqual(self.send(content).status_code, 201, extra[:12])

    def test_media_types_that_mean_the_same(self) -> None:
        for media_type in ("image/jpg", "IMAGE/JPEG", "application/octet-stream", ""):
            self.assertEqual(self.send(media_type=media_type).status_code, 201, media_type)
        self.assertEqual(self.send(picture("png"), "a.png", "image/apng").status_code, 201)

    def test_forty_megapixels(self) -> None:
        for extension in ("jpg", "png"):
            output = BytesIO()
            options = {"compress_level": 1} if extension == "png" else {}
            Image.new("RGB", (7300, 5480), "teal").save(output, TYPES[extension].partition("/")[2], **options)
            response = self.send(output.getvalue(), f"large.{extension}")
            self.assertEqual(response.status_code, 201, response.content)

    def test_no_temporary_file_stays(self) -> None:
        self.send()
        self.assertEqual(self.files(), ["picture.jpg", "thumbs/picture.jpg.webp"])

    def test_the_folders_are_made_when_they_are_missing(self) -> None:
        self.media.rmdir()
        self.assertEqual(self.send().status_code, 201)


class ThumbnailTests(MediaMixin, TestCase):
    def thumbnail(self, name: str = "picture.jpg") -> Image.Image:
        with Image.open(self.media / f"thumbs/{name}.webp") as image:
            image.load()
            return image

    def test_small_and_modern(self) -> None:
        self.send(picture(size=(2000, 1000)))
        self.assertEqual((self.thumbnail().size, self.thumbnail().format), ((480, 240), "WEBP"))

    def test_never_larger_than_the_picture(self) -> None:
        self.send(picture(size=(30, 20)))
        self.assertEqual(self.thumbnail().size, (30, 20))

    def test_long_and_thin(self) -> None:
        for size in ((3000, 1), (1, 3000), (1, 1)):
            self.assertEqual(self.send(picture("png", size), "thin.png").status_code, 201)

    def test_upright_as_the_camera_meant(self) -> None:
        upright = draw((120, 80))
        turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes what a viewer does
        for orientation, turn in turns.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            output = BytesIO()
            upright.transpose(Image.Transpose(turn)).save(output, "JPEG", quality=95, exif=exif)
            facts = self.send(output.getvalue(), f"turned {orientation}.jpg").json()
            self.assertEqual((facts["width"], facts["height"]), (120, 80), orientation)
            thumbnail = self.thumbnail(f"turned {orientation}.jpg")
            self.assertEqual(thumbnail.size, (120, 80), orientation)
            self.assertGreater(min(thumbnail.getpixel((112, 6))), 220, orientation)
            self.assertLess(min(thumbnail.getpixel((6, 70))), 120, orientation)

    def test_no_location_and_no_other_metadata(self) -> None:
        exif = Image.Exif()
        exif[0x010F] = "Camera maker"
        exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0)})
        self.send(picture(exif=exif, comment=b"a comment", icc_profile=b"\0" * 200))
        thumbnail = self.thumbnail()
        self.assertEqual(dict(thumbnail.getexif()), {})
        self.assertFalse({"exif", "xmp", "icc_profile", "comment"} & set(thumbnail.info))
        self.assertNotIn(b"Camera", (self.media / "thumbs/picture.jpg.webp").read_bytes())

    def test_damaged_metadata_does_not_matter(self) -> None:
        content = picture()
        broken = b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40
        segment = b"\xff\xe1" + (len(broken) + 2).to_bytes(2, "big") + broken
        self.assertEqual(self.send(content[:2] + segment + content[2:]).status_code, 201)

    def test_transparency_stays(self) -> None:
        output = BytesIO()
        Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(output, "PNG")
        self.send(output.getvalue(), "clear.png")
        self.assertEqual(self.thumbnail("clear.png").getpixel((20, 20))[3], 0)


class PageTests(MediaMixin, TestCase):
    def post(self, *contents: tuple[str, bytes]):
        parts = [("image_file", name, content, "application/octet-stream") for name, content in contents]
        body, content_type = multipart(*parts)
        return self.client.post("/", body, content_type=content_type, follow=True)

    def test_a_plain_form_ends_on_a_page_with_the_link(self) -> None:
        response = self.post(("my cat.jpg", picture()))
        self.assertEqual(response.status_code, 200)
        self.assertEqual(len(response.redirect_chain), 1)
        self.assertContains(response, '<a href="/media/my%20cat.jpg">/media/my%20cat.jpg</a>', html=True)

    def test_several_in_a_plain_form_each_with_its_own_answer(self) -> None:
        response = self.post(("one.jpg", picture()), ("two.png", b"no picture"), ("three.png", picture("png")))
        self.assertEqual(response.status_code, 415)
        self.assertContains(response, 'href="/media/one.jpg"', status_code=415)
        self.assertContains(response, 'href="/media/three.png"', status_code=415)
        self.assertContains(response, "no picture of a known type", status_code=415)
        self.assertEqual(Picture.objects.count(), 2)

    def test_names_cannot_bring_markup(self) -> None:
        name = "\"><img src=x onerror='alert(1)'>.jpg"
        response = self.post((name, picture()), (name, b"bad"))
        self.assertNotContains(response, "<img src=x", status_code=415)
        self.assertContains(self.client.get("/"), "&lt;img src=x")
        self.assertNotContains(self.client.get(f"/pictures/{Picture.objects.get().pk}/"), "<img src=x")

    def test_pages_of_the_list(self) -> None:
        for index in range(25):
            self.send(picture(size=(8, 8)), f"number {index}.jpg")
        first, second = self.client.get("/"), self.client.get("/?page=2")
        self.assertContains(first, "number 24.jpg")
        self.assertNotContains(first, "number 0.jpg")
        self.assertContains(second, "number 0.jpg")
        self.assertContains(first, "Page 1 of 2")
        for page in ("0", "99", "x", "-1", "1e9"):
            self.assertEqual(self.client.get("/", {"page": page}).status_code, 200)

    def test_the_list_is_right_at_once(self) -> None:
        self.client.get("/")
        self.send(name="new.jpg")
        self.assertContains(self.client.get("/"), "new.jpg")
        row = Picture.objects.get()
        row.title = "A new title"
        row.save()
        self.assertContains(self.client.get("/"), "A new title")
        row.delete()
        self.assertNotContains(self.client.get("/"), "A new title")

    def test_a_list_that_is_cached_costs_one_query(self) -> None:
        self.send()
        self.client.get("/")
        with self.assertNumQueries(1):
            self.client.get("/")

    def test_odd_keys_of_kept_pictures(self) -> None:
        for key in ("x", "-1", "9" * 30, "1;2", "٣"):
            self.assertEqual(self.client.get("/", {"kept": key}).status_code, 200)

    def test_headers(self) -> None:
        response = self.client.get("/")
        self.assertEqual(response.headers["Cache-Control"], "private, no-cache")
        for header in ("Accept", "Accept-Language", "Cookie"):
            self.assertIn(header, response.headers["Vary"])
        self.assertNotIn("unsafe", response.headers["Content-Security-Policy"])

    def test_no_inline_code_and_no_other_host(self) -> None:
        self.send()
        html = (
            self.client.get("/").content.decode()
            + self.client.get(f"/pictures/{Picture.objects.get().pk}/").content.decode()
        )
        self.assertIsNone(
            re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|(?:src|href)=\"(?:https?:)?//", html)
        )

    def test_chinese(self) -> None:
        response = self.client.get("/", headers={"accept-language": "zh-CN,zh;q=0.9"})
        self.assertContains(response, '<html lang="zh-hans">')
        self.assertContains(response, "上传图片")
        error = self.send(b"no", **{"accept-language": "zh-CN"}).json()["error"]
        self.assertRegex(error["message"], "[\u4e00-\u9fff]")

    def test_a_missing_picture_is_a_plain_404(self) -> None:
        self.assertContains(self.client.get("/pictures/12345/"), "Not found", status_code=404)

    def test_other_methods(self) -> None:
        self.assertEqual(self.client.put("/").status_code, 405)
        self.assertEqual(self.client.head("/").status_code, 200)


class NegotiationTests(MediaMixin, TestCase):
    def test_who_gets_json(self) -> None:
        for accept, wanted in {
            "application/json": "application/json",
            "application/json, text/plain, */*": "application/json",
            "*/*": "text/html; charset=utf-8",
            "text/html,application/xhtml+xml,*/*;q=0.8": "text/html; charset=utf-8",
            "image/png": "text/html; charset=utf-8",
        }.items():
            response = self.send(b"no", accept=accept)
            self.assertEqual(response.headers["Content-Type"], wanted, accept)
            self.assertEqual(response.status_code, 415)

    def test_csrf(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        body, content_type = multipart(("image_file", "a.jpg", picture(), "image/jpeg"))
        for accept in ("application/json", "text/html"):
            response = strict.post("/", body, content_type=content_type, headers={"accept": accept})
            self.assertEqual(response.status_code, 403)
            self.assertIn(accept, response.headers["Content-Type"])
        self.assert_nothing_left()
        strict.get("/")
        token = strict.cookies["csrftoken"].value
        headers = {"accept": "application/json", "x-csrftoken": token}
        response = strict.post("/", body, content_type=content_type, headers=headers)
        self.assertEqual(response.status_code, 201)


@override_settings(UPLOAD_REQUIRES_LOGIN=True)
class LoginTests(MediaMixin, TestCase):
    def setUp(self) -> None:
        super().setUp()
        required = override_settings(UPLOAD_REQUIRES_LOGIN=True)
        required.enable()
        self.addCleanup(required.disable)
        self.user = get_user_model().objects.create_user("ada", password="a long pass phrase")

    def test_visitors_see_pictures_but_cannot_upload(self) -> None:
        page = self.client.get("/")
        self.assertContains(page, 'href="/login/"')
        self.assertNotContains(page, 'type="file"')
        self.assert_refused(self.send(), "login_required", 401)
        self.assertContains(self.send(accept="text/html"), "Sign in", status_code=401)

    def test_the_way_in_and_out(self) -> None:
        self.assertContains(self.client.get("/login/"), 'name="password"')
        wrong = self.client.post("/login/", {"username": "ada", "password": "wrong"})
        self.assertContains(wrong, "correct username and password")
        right = {"username": "ada", "password": "a long pass phrase"}
        self.assertRedirects(self.client.post("/login/", right), "/")
        self.assertContains(self.client.get("/"), 'type="file"')
        self.assertEqual(self.send().status_code, 201)
        self.assertRedirects(self.client.post("/logout/"), "/")
        self.assertNotContains(self.client.get("/"), 'type="file"')
