"""What runs the decode step, and what is built from steps: sampling, speculation, streams."""
