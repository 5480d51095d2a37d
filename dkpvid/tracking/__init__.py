"""From frames to a smooth track: detection, filters over time, the window that follows, the drawn video."""
