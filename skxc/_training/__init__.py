"""One training loop for all estimators, and its optimisers."""
