"""The papers, one a file: how a method begins, what it does to a batch, what it leaves."""
