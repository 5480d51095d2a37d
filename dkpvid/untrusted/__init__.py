"""Files of any origin, read without running anything in them."""
