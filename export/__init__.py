"""Weights to ONNX and TensorRT engines, each verified."""
