"""What the proxy provides, for tests: the request being picked for."""

headers = {}


def header(name):
    return headers.get(name)
