"""Measurements that anyone can repeat: each prints one table and says what machine it ran on."""
