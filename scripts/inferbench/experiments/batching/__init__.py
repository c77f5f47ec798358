"""A padded batch against its prompts one by one."""
