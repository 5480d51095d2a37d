"""Depth maps, and the networks that make them."""
