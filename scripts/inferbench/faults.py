"""What says nothing about a cell: faults of its files and of the machine."""


class Fault(RuntimeError):
    """Files or the machine are not in order, so there is no result. The message says what is wrong, and where."""
