"""`segmif train adapt`: weights to the frames of another rig, without labels."""
