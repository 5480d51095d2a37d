"""The jobs, one a command; they never import each other."""
