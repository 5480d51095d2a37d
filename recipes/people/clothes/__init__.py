"""What they wear: meshes that follow a body, cut and dyed."""
