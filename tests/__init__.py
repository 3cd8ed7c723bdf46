"""The tests of Holdfast: each a sentence of its specification."""
