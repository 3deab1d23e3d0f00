"""The footfall network: scenes, training, ONNX file and its runner."""
