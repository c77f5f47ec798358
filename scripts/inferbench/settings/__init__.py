"""What every job shares and can be asked for, typed; and the words of outcomes."""
