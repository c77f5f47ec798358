"""The decoding experiments. Each has a measuring module here (`<name>.py`, torch), the columns of its table
(`<name>_table.py`), its part of the report (`<name>_report.py`) and a figure (`scripts/plot_<name>.py`)."""
