import re

import pytest

from stack.reference import PAGES
from stack.settings import REPOSITORY


@pytest.mark.parametrize("page", PAGES)
def test_pages_made_from_code_are_in_step_with_it(page: str) -> None:
    written = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    assert written == PAGES[page](), "run: python -m stack.reference"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(((?!http)[^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"
