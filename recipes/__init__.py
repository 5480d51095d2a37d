"""Scripts that make things: training sets, weights, pictures. Run them as `python -m recipes.NAME`."""
