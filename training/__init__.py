"""Disk -> checkpoint: data, losses, the loop, and the judge."""
