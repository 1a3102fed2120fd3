"""Checkpoint -> ONNX: what was trained becomes what is served."""
