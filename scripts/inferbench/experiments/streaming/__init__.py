"""When the reader of a stream has each token."""
