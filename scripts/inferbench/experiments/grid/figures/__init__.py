"""The grid's figures, one module each."""
