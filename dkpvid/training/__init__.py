"""What the training jobs share: frames, losses, the loop, the run folder."""
