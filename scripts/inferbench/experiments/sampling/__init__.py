"""What each way to draw tokens does to the text, and what it costs."""
