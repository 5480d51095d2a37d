"""Reading and writing video, in presentation order and with the source's own frame times."""
