"""Disk -> checkpoint: data, losses, the loop, and evaluation."""
