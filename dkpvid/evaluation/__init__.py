"""Annotated sets, and the measures."""
