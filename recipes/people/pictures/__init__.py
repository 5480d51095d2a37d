"""How it is seen: drawing, shots of several frames, what a camera adds."""
