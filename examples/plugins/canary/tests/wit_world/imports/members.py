"""What the proxy provides, for tests: the backends' labels."""

labels = {}


def label(id, key):
    return labels.get((id, key))
