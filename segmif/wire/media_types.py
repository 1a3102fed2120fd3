"""The pictures of an answer and the media types in which they travel."""

from typing import Literal

View = Literal["fused", "mask", "overlay", "confidence", "visible", "infrared", "counts"]
# Pictures whose pixels are read as numbers, never to be rounded.
NUMBERS = ("mask", "confidence", "infrared", "counts")
PREPARED = ("visible", "infrared", "counts")  # not predicted; the raw form has no room for them

MIXED, JSON, RAW = "multipart/mixed", "application/json", "application/octet-stream"
PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
