"""Webhooks: their destinations, and the routes that show and repeat deliveries."""
