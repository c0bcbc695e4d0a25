"""Pictures to upload in browser tests and screenshots; the same in every run."""

import colorsys
import random
from io import BytesIO

from PIL import Image, ImageDraw


def landscape(seed: int, size: tuple[int, int] = (1200, 900)) -> bytes:
    """Return a JPEG of hills under a sky."""
    chance = random.Random(seed)
    # The golden ratio keeps neighbours apart.
    hue = seed * 0.618 % 1
    width, height = size

    def colour(turn: float, saturation: float, value: float) -> tuple[int, ...]:
        return tuple(round(255 * part) for part in colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))

    above, below = (Image.new("RGB", size, colour(*shade)) for shade in ((0, 0.6, 0.75), (0.08, 0.35, 0.98)))
    image = Image.composite(below, above, Image.linear_gradient("L").resize(size))
    draw = ImageDraw.Draw(image)
    x, y, radius = (
        chance.randrange(width // 5, width * 4 // 5),
        chance.randrange(height // 6, height // 2),
        height // 10,
    )
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour(0.1, 0.15, 1))
    for hill in range(4):
        level = height * (0.5 + 0.12 * hill)
        points = [(0, height)]
        for x in range(0, width + width // 24, width // 24):
            level += chance.uniform(-30, 30)
            points.append((x, level))
        draw.polygon([*points, (width, height)], fill=colour(0.55, 0.45, 0.62 - 0.13 * hill))
    output = BytesIO()
    image.save(output, "JPEG", quality=88)
    return output.getvalue()


def upload_file(name: str, seed: int = 0, size: tuple[int, int] = (600, 450)) -> dict[str, object]:
    """Return a landscape in the form that Playwright's set_input_files takes."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": landscape(seed, size)}
