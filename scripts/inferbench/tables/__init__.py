"""What lies on disk: cell files, the schemas of tables, provenance, published campaigns."""
