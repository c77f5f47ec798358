"""What a precision costs in quality."""
