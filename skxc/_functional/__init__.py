"""The mathematics: tensors in, tensors out; no estimator, no rank, no device of its own."""
