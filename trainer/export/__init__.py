"""Export: a training run becomes ONNX files, int8 files and TensorRT plans, each checked against the network."""
