"""The networks: detector, edge map, decoder, and AutoLink, which joins them."""
