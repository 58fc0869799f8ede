"""What is in the place of an id and is none."""

from __future__ import annotations

from fleet.ids import LARGEST_ID

NO_IDS = {
    "nothing": "",
    "zero": "0",
    "negative": "-1",
    "signed": "+1",
    "5,000 digits, which int() refuses": "9" * 5000,
    "one more than the largest": str(LARGEST_ID + 1),
    "sixteen digits": "1" * 16,
    "a second spelling": "07",
    "blanks": " 7",
    "a newline": "7\n",
    "underscores, which int() takes": "1_0",
    "digits of another script, which int() takes": "٣",
    "a superscript, which isdigit() takes": "²",
    "NUL": "7\0",
    "a number": 7,
    "none": None,
}
