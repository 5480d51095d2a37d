"""Rendered people with exact depth and joints: bodies, clothes, scenes, pictures. Run `people.render`."""
