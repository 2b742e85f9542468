"""The tests of edc."""
