"""From rows to statements: statistics, summaries, comparisons, advice. No text for readers, no drawing."""
