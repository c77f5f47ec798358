"""Numbers, names, tables and pictures as people read them."""
