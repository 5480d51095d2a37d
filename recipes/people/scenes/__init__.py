"""Where they are: places with light and depth, what stands in the way, the camera."""
