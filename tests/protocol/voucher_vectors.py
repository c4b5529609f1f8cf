"""The vectors of `docs/vectors/vouchers.json`, for people who write agents in other languages.

Run `python tests/protocol/voucher_vectors.py` to write the file anew after a change of the protocol.
"""

from __future__ import annotations

import json
import pathlib
from dataclasses import asdict
from typing import Any

from jishan_protocol import vouchers
from jishan_protocol.vouchers import Voucher

PATH = pathlib.Path(__file__).parents[2] / "docs" / "vectors" / "vouchers.json"
PRIVATE_KEY = bytes(range(32))
MACHINE_KEY = bytes(range(32, 64))

GOOD = (
    Voucher("m1a2b3", "5b1f0c9d8e7a6b5c4d3e2f1a0b9c8d7e", 17, 13, "soap", 2, "0195d0c5a0b17c5b1f0c9d8e7a6b5c4d"),
    Voucher("m1a2b3", "5b1f0c9d8e7a6b5c4d3e2f1a0b9c8d7e", 999_999, 0, "rice_5kg", 1_000_000, "r-1"),
    Voucher("m1a2b3", "5b1f0c9d8e7a6b5c4d3e2f1a0b9c8d7e", 1_000_000, 999, "soap", 2, "r-1"),
    Voucher("m1a2b3", "5b1f0c9d8e7a6b5c4d3e2f1a0b9c8d7e", 1, 1000, "soap", 2, "r-1"),
)


def vectors() -> dict[str, Any]:
    """Everything that stands in the file."""
    text = vouchers.write(GOOD[0], PRIVATE_KEY)
    digits = vouchers.write_digits(GOOD[0], MACHINE_KEY)
    assert digits is not None
    return {
        "private_key_hex": PRIVATE_KEY.hex(),
        "public_key": vouchers.public_key(PRIVATE_KEY),
        "machine_key_hex": MACHINE_KEY.hex(),
        "good": [
            {
                "voucher": asdict(one),
                "redemption_id": one.redemption_id,
                "text": vouchers.write(one, PRIVATE_KEY),
                "digits": vouchers.write_digits(one, MACHINE_KEY),
            }
            for one in GOOD
        ],
        "bad_texts": [
            {"text": "", "reason": "bad_voucher"},
            {"text": text[:-1], "reason": "bad_voucher"},
            {"text": text + "A", "reason": "bad_voucher"},
            {"text": text.replace("JSV1", "JSV2"), "reason": "bad_voucher"},
            {"text": text.replace(":17:", ":017:"), "reason": "bad_voucher"},
            {"text": text.replace(":17:", ":0:"), "reason": "bad_voucher"},
            {"text": text.replace(":17:", ":18:"), "reason": "forged_voucher"},
            {"text": text.replace(":m1a2b3:", ":m9:"), "reason": "forged_voucher"},
            {"text": text.replace(":soap:2:", ":soap:1:"), "reason": "forged_voucher"},
            {"text": vouchers.write(GOOD[0], MACHINE_KEY), "reason": "forged_voucher"},
        ],
        "bad_digits": ["", digits[:-1], digits + "0", digits[:-1] + str((int(digits[-1]) + 1) % 10), "0" * 16],
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=2) + "\n", encoding="utf-8")
