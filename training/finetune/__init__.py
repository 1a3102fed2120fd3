"""`segmif train --from WEIGHTS`: weights to frames of one's own, without a config."""
