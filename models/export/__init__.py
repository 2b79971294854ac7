"""From trained weights to graphs that a runtime loads: ONNX, and int8."""
