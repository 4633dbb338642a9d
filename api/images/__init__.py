"""Images: untrusted bytes in, canonical pixels out of processes that may crash."""
