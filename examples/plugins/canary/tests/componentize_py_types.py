"""What the build provides, for tests."""


class Err(Exception):
    """An error that is told to the proxy."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value
