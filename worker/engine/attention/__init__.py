"""What lies between the matrix products of a decoder layer, by device: attention over the paged
cache, rotation, norm."""
