"""The routes of administrators: keys, tenants, submissions, workers and failed jobs."""
