"""Learn the keypoints of whatever moves in your videos without a label, and track them."""

__version__ = "0.1.0"
