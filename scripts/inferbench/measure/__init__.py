"""What happens in the measuring process: warm-up, timing, checks, energy, reasons why not."""
