"""The weights that come with the package, from rendered strips: depth teacher, student, publication."""
