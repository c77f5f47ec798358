"""One folder each, alike: spec, settings, measure, table, figures, section. The grid is one of them."""
