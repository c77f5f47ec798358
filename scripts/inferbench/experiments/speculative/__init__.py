"""What a draft model or prompt lookup is worth."""
