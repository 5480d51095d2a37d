"""Who stands there, and how: bodies, motion, poses."""
