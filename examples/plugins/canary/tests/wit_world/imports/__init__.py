"""What the build provides, for tests."""
