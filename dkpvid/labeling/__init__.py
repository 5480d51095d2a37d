"""Labelling a few frames by hand: which ones, the page to do it in, and what it saves."""
