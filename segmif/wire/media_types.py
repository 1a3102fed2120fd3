"""The pictures of an answer and the media types in which they travel."""

from typing import Literal

View = Literal["fused", "mask", "overlay", "confidence"]
NUMBERS = ("mask", "confidence")  # pictures whose pixels are read as numbers, never to be rounded

MIXED, JSON, RAW = "multipart/mixed", "application/json", "application/octet-stream"
PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
