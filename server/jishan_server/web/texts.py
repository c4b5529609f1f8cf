"""The words of the pages: written in Chinese where they stand, and in English in one catalogue.

The catalogue is a `.po` file, which a translator's tool opens and a review reads; it is compiled when the first English
page asks for it. A text without English is shown in Chinese; a test names each one.
"""

from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Final

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask_babel import Babel, Domain, get_locale

ENGLISH: Final = Path(__file__).parent / "translations" / "en.po"


class Words(Domain):  # type: ignore[misc]  # flask-babel is untyped
    """Chinese as it stands in the source, English from the catalogue."""

    def get_translations(self) -> NullTranslations:
        """The translations of this request's language."""
        locale = get_locale()
        return english() if locale is not None and locale.language == "en" else NullTranslations()


class Languages(Babel):  # type: ignore[misc]
    """flask-babel with our catalogue."""

    @cached_property
    def domain_instance(self) -> Words:
        """What translates where no other domain is named."""
        return Words()


@cache
def english() -> Translations:
    """The English catalogue, compiled once."""
    compiled = BytesIO()
    with ENGLISH.open("rb") as source:
        write_mo(compiled, read_po(source, locale="en"))
    compiled.seek(0)
    return Translations(compiled)
