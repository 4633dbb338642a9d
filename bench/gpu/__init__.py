"""One run on one device, minutes long and without network: from single kernels to whole answers."""
