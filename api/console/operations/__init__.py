"""The pages of administrators: what the installation does, its keys and tenants."""
