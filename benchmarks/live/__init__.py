"""Measures `segmif run` between two real streams and the page in a browser."""
