"""Object detectors behind one interface: an ONNX file, a function of the user's, or OpenCV's people detector."""
