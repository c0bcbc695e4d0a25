"""Pictures and requests that the tests are made of; all are the same in every run."""

import struct
import zlib
from io import BytesIO

from PIL import Image, ImageDraw

TYPES = {"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp", "avif": "image/avif"}


def draw(size: tuple[int, int] = (96, 64), mode: str = "RGB", shade: int = 0) -> Image.Image:
    """Return a picture that is dark at its left and has a white spot in its upper right corner."""
    image = Image.linear_gradient("L").rotate(90).resize(size).point(lambda value: (value + shade) % 200)
    image = Image.merge("RGB", (image, image.rotate(180), image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)))
    width, height = size
    ImageDraw.Draw(image).rectangle((width * 3 // 4, 0, width, height // 4), fill="white")
    return image.convert(mode)


def picture(extension: str = "jpg", size: tuple[int, int] = (96, 64), frames: int = 1, **options: object) -> bytes:
    """Return the bytes of a good picture file."""
    output = BytesIO()
    mode = "P" if extension == "gif" else "RGB"
    images = [draw(size, mode, shade=5 * index) for index in range(frames)]
    if frames > 1:
        options |= {"save_all": True, "append_images": images[1:]}
    images[0].save(output, TYPES[extension].partition("/")[2], **options)
    return output.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: tuple[bytes, bytes], width: int = 8, height: int = 8) -> bytes:
    """Return a grey PNG, with chunks of one's own before the pixels; the header can lie."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(9 * 8))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def gif(frames: int, width: int = 4, height: int = 4) -> bytes:
    """Return a GIF of many frames, all the same."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    delay = b"\x21\xf9\x04\x00\x01\x00\x00\x00"
    return head + (delay + _gif_frame(picture("gif", (width, height)))) * frames + b";"


def _gif_frame(data: bytes) -> bytes:
    start = data.index(b",", 13 + (3 << (data[10] & 7) + 1))
    flags = data[start + 9]
    palette = data[13 : 13 + (3 << (data[10] & 7) + 1)]
    # With a palette of its own, so that it fits any file.
    own = bytes([flags | 0x80 | (data[10] & 7)])
    return data[start : start + 9] + own + palette + data[start + 10 : -1]


def multipart(*parts: tuple[str, str | None, bytes, str]) -> tuple[bytes, str]:
    """Return body and content type of a form of (field, file name, content, media type), names exactly as given."""
    body = b""
    for field, name, content, media_type in parts:
        body += f'--frontier\r\nContent-Disposition: form-data; name="{field}"'.encode()
        if name is not None:
            escaped = name.replace("\\", "\\\\").replace('"', '\\"')
            body += f'; filename="{escaped}"\r\nContent-Type: {media_type}'.encode()
        body += b"\r\n\r\n" + content + b"\r\n"
    return body + b"--frontier--\r\n", "multipart/form-data; boundary=frontier"
