"""`segmif train --from`: weights, or a pretrained encoder, to own frames, without a config."""
