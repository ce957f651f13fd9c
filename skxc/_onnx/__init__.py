"""A fitted model as one ONNX graph: from a text's words or tokens to its best labels."""
