# ruff: noqa: PT009 (these run under Django's own test runner as well)
"""The Chinese catalogue has all that the app says, and its compiled form is up to date."""

import gettext
import re
from pathlib import Path

from django.test import SimpleTestCase

APP = Path(__file__).resolve().parents[1]
CATALOGUE = APP / "locale/zh_Hans/LC_MESSAGES"


class TranslationTests(SimpleTestCase):
    def test_everything_is_translated(self) -> None:
        with (CATALOGUE / "django.mo").open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog
        said = set()
        for path in APP.glob("*.py"):
            said.update(re.findall(r'\b_\("([^"]+)"\)', path.read_text()))
        for path in APP.glob("templates/**/*.html"):
            text = path.read_text()
            said.update(re.findall(r'{% translate "([^"]+)" %}', text))
            blocks = re.findall(r"{% blocktranslate[^%]*%}(.*?){% endblocktranslate %}", text, re.DOTALL)
            said.update(re.sub(r"{{ (\w+) }}", r"%(\1)s", block) for block in blocks)
        self.assertGreater(len(said), 60)
        self.assertEqual({text for text in said if not catalogue.get(text)}, set())

    def test_the_compiled_catalogue_is_up_to_date(self) -> None:
        source = CATALOGUE / "django.po"
        if not source.exists():
            self.skipTest("images have no translation sources")
        with (CATALOGUE / "django.mo").open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog
        strings = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
        pairs = {}
        for key, value in re.findall(rf"msgid {strings}msgstr {strings}", source.read_text()):
            pairs["".join(re.findall(r'"(.*)"', key))] = "".join(re.findall(r'"(.*)"', value))
        pairs.pop("")
        self.assertEqual({key: value for key, value in catalogue.items() if key}, pairs)
