"""The README's pictures, taken anew: `make screenshots`.

Browser tests keep what they see where LOOK names a folder; three of those pictures are what the README shows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

TREE = Path(__file__).resolve().parent.parent
SHOWN = {
    "resident.png": "my-phone-zh-CN.png",
    "desk.png": "desk-desktop-zh-CN.png",
    "panel.png": "panel-phone-zh-dispensed.png",
}
TESTS = (
    "tests/browser/test_every_page.py::test_every_page_of_a_resident_can_be_read[phone-zh-CN]",
    "tests/browser/test_every_page.py::test_every_page_of_the_desk_can_be_read[desktop-zh-CN]",
    "tests/browser/test_panel.py::test_an_item_is_redeemed_at_the_panel_and_a_jam_gives_the_points_back",
)
TALLEST_PX = 900


def main() -> int:
    """Take them; the exit code is that of the tests that took them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *TESTS]
        done = subprocess.run(command, cwd=TREE, env=os.environ | {"LOOK": folder}, check=False)
        if done.returncode:
            return done.returncode
        for name, taken in SHOWN.items():
            picture = Image.open(Path(folder) / taken).convert("RGB")
            picture = picture.crop((0, 0, picture.width, min(picture.height, TALLEST_PX)))
            picture.quantize(64).save(TREE / "docs" / "pictures" / name, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
